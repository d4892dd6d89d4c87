package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nkeys"
)

// signatureSuffix is behind the name of a report's file in the name of its signature.
const signatureSuffix = ".sig"

// maxFile bounds the files that are read back.
const maxFile = 1 << 30

// Signature is what stands beside a report's file: who made it, and that nobody changed it since.
type Signature struct {
	File      string    `json:"file"`
	SHA256    string    `json:"sha256"`
	Time      time.Time `json:"time"`
	Key       string    `json:"key"`       // public nkey
	Signature string    `json:"signature"` // ed25519, in base64, of signed
}

// signed is what a signature is of: all of it, so that neither name nor time can be changed.
func (s *Signature) signed() []byte {
	return fmt.Appendf(nil, "ambit report v1\n%s\n%s\n%s\n", s.File, s.SHA256, s.Time.UTC().Format(time.RFC3339))
}

// WriteFile writes a report into a folder, with its signature beside it: <name>-<time>.json, and that with .sig. A file that is there already is never
// changed. It gives the name of the file, and its SHA-256 in hex.
func WriteFile(folder, name string, at time.Time, report any, key nkeys.KeyPair) (file, sum string, err error) {
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return "", "", fmt.Errorf("encode the report %s: %w", name, err)
	}
	data = append(data, '\n')
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return "", "", fmt.Errorf("make the folder of reports: %w", err)
	}
	at = at.UTC().Truncate(time.Second)
	digest := sha256.Sum256(data)
	s := Signature{File: name + "-" + at.Format("20060102T150405Z") + ".json", SHA256: hex.EncodeToString(digest[:]), Time: at}
	if s.Key, err = key.PublicKey(); err != nil {
		return "", "", fmt.Errorf("sign the report %s: %w", name, err)
	}
	raw, err := key.Sign(s.signed())
	if err != nil {
		return "", "", fmt.Errorf("sign the report %s: %w", name, err)
	}
	s.Signature = base64.StdEncoding.EncodeToString(raw)
	sealed, err := json.MarshalIndent(&s, "", "  ")
	if err != nil {
		return "", "", fmt.Errorf("sign the report %s: %w", name, err)
	}
	path := filepath.Join(folder, s.File)
	if _, err := os.Lstat(path); err == nil {
		return "", "", fmt.Errorf("write the report %s: there is one already; it is not changed", path)
	}
	// The signature comes first: a report without one would look forged.
	if err := renameio.WriteFile(path+signatureSuffix, append(sealed, '\n'), 0o640); err != nil {
		return "", "", fmt.Errorf("write the signature of a report: %w", err)
	}
	if err := renameio.WriteFile(path, data, 0o640); err != nil {
		return "", "", fmt.Errorf("write a report: %w", err)
	}
	return s.File, s.SHA256, nil
}

// VerifyFile says whether a report's file is as it was signed by one of some keys. Without keys it only says whether it fits to the key that stands
// beside it, which whoever changed the file could have made.
func VerifyFile(path string, keys []string) (*Signature, error) {
	sealed, err := readBounded(path + signatureSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("verify %s: there is no signature %s beside it", path, filepath.Base(path)+signatureSuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	var s Signature
	if err := json.Unmarshal(sealed, &s); err != nil {
		return nil, fmt.Errorf("verify %s: the signature cannot be read: %w", path, err)
	}
	if s.File != filepath.Base(path) {
		return nil, fmt.Errorf("verify %s: the signature is of a file named %s", path, plain(s.File))
	}
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("verify %s: %w", path, err)
	}
	digest := sha256.Sum256(data)
	if !strings.EqualFold(hex.EncodeToString(digest[:]), s.SHA256) {
		return nil, fmt.Errorf("verify %s: the file was changed after it was signed", path)
	}
	known := len(keys) == 0
	for _, k := range keys {
		known = known || k == s.Key
	}
	if !known {
		return nil, fmt.Errorf("verify %s: it is signed with the key %s, which is not trusted", path, plain(s.Key))
	}
	key, err := nkeys.FromPublicKey(s.Key)
	if err != nil {
		return nil, fmt.Errorf("verify %s: the signature names no key: %w", path, err)
	}
	raw, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil {
		return nil, fmt.Errorf("verify %s: the signature cannot be read: %w", path, err)
	}
	if err := key.Verify(s.signed(), raw); err != nil {
		return nil, fmt.Errorf("verify %s: the signature is not of this file, name and time", path)
	}
	return &s, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d MiB", maxFile>>20)
	}
	return data, err
}
