package testenv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// writeFiles makes what the API server is started with: its certificate, the key that signs service account tokens, and the administrator.
func (c *Cluster) writeFiles() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"server.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"tokens.csv": []byte(c.token + ",admin,admin,system:masters\n"),
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// URL is where the API server listens.
func (c *Cluster) URL() string { return "https://127.0.0.1:" + strconv.Itoa(c.port) }

// Kubeconfig is a file with the administrator's credentials.
func (c *Cluster) Kubeconfig() string {
	c.t.Helper()
	return c.kubeconfig("admin", c.token)
}

// KubeconfigFor is a file with a token of a service account, which must exist: its bearer may do what RBAC allows it, and nothing else.
func (c *Cluster) KubeconfigFor(namespace, serviceAccount string) string {
	c.t.Helper()
	var got struct {
		Status struct {
			Token string `json:"token"`
		} `json:"status"`
	}
	err := c.call("POST", "/api/v1/namespaces/"+namespace+"/serviceaccounts/"+serviceAccount+"/token",
		map[string]any{"spec": map[string]any{"expirationSeconds": 3600}}, &got)
	if err != nil {
		c.t.Fatalf("request token of %s/%s: %v", namespace, serviceAccount, err)
	}
	return c.kubeconfig(namespace+"-"+serviceAccount, got.Status.Token)
}

func (c *Cluster) kubeconfig(name, token string) string {
	c.t.Helper()
	named := func(key string, value any) []any { return []any{map[string]any{"name": "test", key: value}} }
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": named("cluster", map[string]any{"server": c.URL(), "certificate-authority": filepath.Join(c.dir, "server.crt")}),
		"users":    named("user", map[string]any{"token": token}),
		"contexts": named("context", map[string]any{"cluster": "test", "user": "test"}),
	})
	path := filepath.Join(c.dir, name+".kubeconfig")
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		c.t.Fatalf("write kubeconfig: %v", err)
	}
	return path
}

// call asks the API server as its administrator.
func (c *Cluster) call(method, path string, body, answer any) error {
	return c.callAs(method, path, "application/json", body, answer)
}

func (c *Cluster) callAs(method, path, contentType string, body, answer any) error {
	ca, err := os.ReadFile(filepath.Join(c.dir, "server.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	return ask(transport, method, c.URL()+path, c.token, contentType, body, answer)
}

// askStore asks etcd, in JSON.
func (c *Cluster) askStore(path string, body, answer any) error {
	if body == nil {
		body = struct{}{}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	return ask(transport, "POST", c.etcd+path, "", "application/json", body, answer)
}

func ask(transport *http.Transport, method, url, token, contentType string, body, answer any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, url, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Transport: transport, Timeout: 30 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
