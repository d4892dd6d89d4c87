package tlsstacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"testing"
)

// curlStack is curl: a process for each connection, or one for all that share a session. It takes no tickets by TLS 1.2, and the reference has
// nothing else.
func curlStack() *Stack {
	return &Stack{
		Name: "curl", Probed: "libssl", ClientTells: Tuple, Resumes: both[1:], ClientInsecure: true, OffersALPN: true, needs: []string{"curl"},
		Start: func(testing.TB, []End) *Client {
			return &Client{
				dial: func(_ testing.TB, ends []End) []Truth {
					return each(ends, 32, func(end End) (Truth, error) {
						truths, err := curl(end, 1)
						return truths[0], err
					})
				},
				repeat: func(t testing.TB, end End, n int) []Truth {
					t.Helper()
					truths, err := curl(end, n)
					if err != nil {
						truths[0].Error = err.Error()
					}
					return truths
				},
			}
		},
	}
}

// curl asks n times in one process. The server closes each connection.
func curl(end End, n int) ([]Truth, error) {
	host, at, _ := bytes.Cut([]byte(end.Address), []byte(":"))
	args := []string{
		"--silent", "--show-error", "--max-time", "60", "--tlsv" + end.Version, "--tls-max", end.Version, "--cacert", end.CA,
		"--write-out", `{"local":"%{local_ip}:%{local_port}","remote":"%{remote_ip}:%{remote_port}"}` + "\n",
		"--resolve", fmt.Sprintf("%s:%s:%s", end.SNI, at, host),
	}
	if end.Insecure {
		args = append(args, "--insecure")
	}
	if end.Cert != "" {
		args = append(args, "--cert", end.Cert, "--key", end.Key)
	}
	if end.ALPN == "" {
		args = append(args, "--no-alpn")
	}
	args = append(args, slices.Repeat([]string{"--output", "/dev/null", fmt.Sprintf("https://%s:%s/", end.SNI, at)}, n)...)
	truths := make([]Truth, n)
	out, err := output(exec.Command("curl", args...))
	if err != nil {
		return truths, err
	}
	for i, line := range bytes.SplitN(bytes.TrimSpace(out), []byte("\n"), n) {
		if err := json.Unmarshal(line, &truths[i]); err != nil {
			return truths, fmt.Errorf("curl says %q: %w", line, err)
		}
		truths[i].ID = end.ID
	}
	return truths, nil
}
