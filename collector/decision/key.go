package decision

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nkeys"

	"github.com/ambit-nhi/ambit/collector/secretfile"
)

// maxKeyFile bounds what is read of a key file, in bytes.
const maxKeyFile = 1024

// LoadKey reads a signing key, the seed of an account nkey, from a file that nobody but its owner may read.
func LoadKey(file string) (nkeys.KeyPair, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read the decision key: %w; make one with `ambit decisions key %s`", err, file)
	}
	if err := secretfile.Check(info); err != nil {
		return nil, fmt.Errorf("read the decision key %s: it %w, and make a new one if it was seen", file, err)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("read the decision key %s: it is no small regular file", file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the decision key: %w", err)
	}
	defer clear(data)
	kind, _, err := nkeys.DecodeSeed(bytes.TrimSpace(data))
	if err == nil && kind != nkeys.PrefixByteAccount {
		err = errors.New("it is a seed of another kind of nkey")
	}
	var key nkeys.KeyPair
	if err == nil {
		key, err = nkeys.FromSeed(bytes.TrimSpace(data))
	}
	if err != nil { // of what is in the file nothing is told
		return nil, fmt.Errorf("read the decision key %s: it is no seed of an account nkey, which begins with SA; make one with `ambit decisions key`", file)
	}
	return key, nil
}

// MakeKey makes a signing key in a file that is not there yet.
func MakeKey(file string) (nkeys.KeyPair, error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return nil, fmt.Errorf("make a decision key: %s: %w; choose another name, or remove it if no agent trusts it any more", file, err)
	}
	key, err := nkeys.CreateAccount()
	if err != nil {
		return nil, fmt.Errorf("make a decision key: %w", err)
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, fmt.Errorf("make a decision key: %w", err)
	}
	// Whole or not at all, and on the disk.
	if err := renameio.WriteFile(file, append(seed, '\n'), 0o600, renameio.IgnoreUmask()); err != nil {
		return nil, fmt.Errorf("make a decision key: %w", err)
	}
	return key, nil
}

// EnsureKey reads the signing key in a file, or makes it.
func EnsureKey(file string) (nkeys.KeyPair, error) {
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return MakeKey(file)
	}
	return LoadKey(file)
}

// derive makes a secret for one purpose of a signing key, the same in all collectors that have it.
func derive(key nkeys.KeyPair, purpose string) ([]byte, error) {
	seed, err := key.Seed()
	if err != nil {
		return nil, fmt.Errorf("read the decision key: %w", err)
	}
	h := sha256.New()
	h.Write([]byte("ambit " + purpose + "\x00"))
	h.Write(seed)
	return h.Sum(nil), nil
}
