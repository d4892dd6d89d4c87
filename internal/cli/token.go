package cli

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// tokenName is the file in the data folder that holds what a client must show to change something.
const tokenName = "token"

// tokensName is the file in the data folder that holds the hashes of static tokens, unless another one is configured.
const tokensName = "tokens.json"

const tokenBytes = 32

// ensureToken gives the token of a data folder that is locked, and makes it at the first start.
func ensureToken(folder string) (string, error) {
	path := filepath.Join(folder, tokenName)
	token, err := readToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	var random [tokenBytes]byte
	rand.Read(random[:]) // never fails
	token = hex.EncodeToString(random[:])
	if err := writeToken(path, token); err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	return token, nil
}

// writeToken makes the file whole or not at all.
func writeToken(path, token string) error {
	f, err := os.CreateTemp(filepath.Dir(path), tokenName+"-") // its mode is 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no effect after the rename
	_, err = io.WriteString(f, token+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readToken reads the data folder's token, that nobody else can read.
func readToken(path string) (string, error) {
	token, err := readTokenFile(path)
	if err != nil {
		return "", err
	}
	if !isFolderToken(token) {
		return "", fmt.Errorf("token file %s holds no token: remove it, and the next start of Ambit makes a new one", path)
	}
	return token, nil
}

func isFolderToken(token string) bool {
	raw, err := hex.DecodeString(token)
	return err == nil && len(raw) == tokenBytes
}

// credential is what a token may look like: a static one, or one of an OpenID provider.
var credential = regexp.MustCompile(`^(ambit_[a-z2-7]{20,}|[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$`)

// readCredential reads a token of any kind.
func readCredential(path string) (string, error) {
	token, err := readTokenFile(path)
	if err != nil {
		return "", err
	}
	if !isFolderToken(token) && !credential.MatchString(token) {
		return "", fmt.Errorf("token file %s holds no token: neither that of a data folder, nor one of `ambit token create` or of an OpenID provider", path)
	}
	return token, nil
}

const maxTokenBytes = 16 << 10

// readTokenFile reads a file that nobody else can read.
func readTokenFile(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return "", fmt.Errorf("token file %s is open to others (mode %04o): chmod 600 it, or remove it, and the next start makes a new one", path, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenBytes))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// findToken reads the token for a client: from the file that was named, else that of AMBIT_TOKEN_FILE, else that of the default data folder.
func findToken(file string) (string, error) {
	if file == "" {
		file = os.Getenv("AMBIT_TOKEN_FILE")
	}
	if file == "" {
		file = filepath.Join(defaultConfig().Data, tokenName)
	}
	token, err := readCredential(file)
	if err != nil {
		return "", fmt.Errorf("%w; --token-file or AMBIT_TOKEN_FILE names the file, which `ambit up` keeps in its data folder", err)
	}
	return token, nil
}
