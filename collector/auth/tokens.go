package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/collector/api"
)

// Token is a static token as it is kept: its SHA-256, from which nobody finds 256 random bits, so that a slow hash would add nothing.
type Token struct {
	Name    string    `json:"name"`
	Role    api.Role  `json:"role"`
	SHA256  string    `json:"sha256"` // of the text, in hex
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// Valid says whether it is accepted at a time.
func (t *Token) Valid(at time.Time) bool {
	return t.Revoked.IsZero() && (t.Expires.IsZero() || at.Before(t.Expires))
}

// Bounds of the file.
const (
	maxTokens    = 1000
	maxTokenFile = 1 << 20
)

// prefix of the text of tokens, by which scanners of secrets know them.
const prefix = "ambit_"

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// NewToken makes a token, and gives the text that is shown once.
func NewToken(name string, role api.Role, now time.Time, life time.Duration) (Token, string, error) {
	if !tokenName.MatchString(name) {
		return Token{}, "", fmt.Errorf("name of a token: %.80q is not 1 to 64 letters, digits, dots, underscores, dashes or @", name)
	}
	if role < api.Viewer || role > api.Admin {
		return Token{}, "", errors.New("role of a token: it is not viewer, responder or admin")
	}
	var random [32]byte
	rand.Read(random[:]) // never fails
	text := prefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(random[:]))
	t := Token{Name: name, Role: role, SHA256: hash(text), Created: now.UTC().Truncate(time.Second)}
	if life > 0 {
		t.Expires = t.Created.Add(life)
	}
	return t, text, nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// ReadTokens reads a file of tokens; one that is not there holds none.
func ReadTokens(path string) ([]Token, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o022 != 0 {
		return nil, fmt.Errorf("read tokens: others may write %s (mode %04o): chmod 600 it", path, mode.Perm())
	}
	d := json.NewDecoder(io.LimitReader(f, maxTokenFile))
	d.DisallowUnknownFields()
	var tokens []Token
	if err := d.Decode(&tokens); err != nil {
		return nil, fmt.Errorf("read tokens of %s: %w", path, err)
	}
	if len(tokens) > maxTokens {
		return nil, fmt.Errorf("read tokens of %s: there are %d, at most %d are taken", path, len(tokens), maxTokens)
	}
	for i := range tokens {
		t := &tokens[i]
		if raw, err := hex.DecodeString(t.SHA256); err != nil || len(raw) != sha256.Size || !tokenName.MatchString(t.Name) || t.Role == api.Nobody {
			return nil, fmt.Errorf("read tokens of %s: number %d has no good name, role or sha256", path, i+1)
		}
	}
	return tokens, nil
}

// AddToken writes a token into a file. A valid one of the same name is refused.
func AddToken(path string, t Token, now time.Time) error {
	unlock, err := lockTokens(path)
	if err != nil {
		return err
	}
	defer unlock()
	tokens, err := ReadTokens(path)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(tokens, func(o Token) bool { return o.Name == t.Name && o.Valid(now) }) {
		return fmt.Errorf("there is a token named %s: revoke it, or choose another name", t.Name)
	}
	if len(tokens) >= maxTokens {
		return fmt.Errorf("there are %d tokens already: remove old ones from %s", len(tokens), path)
	}
	return writeTokens(path, append(tokens, t))
}

// RevokeToken marks the tokens of a name as revoked: the valid one, and those that have expired before it.
func RevokeToken(path, name string, now time.Time) error {
	unlock, err := lockTokens(path)
	if err != nil {
		return err
	}
	defer unlock()
	tokens, err := ReadTokens(path)
	if err != nil {
		return err
	}
	found := false
	for i := range tokens {
		if t := &tokens[i]; t.Name == name && t.Revoked.IsZero() {
			t.Revoked, found = now.UTC().Truncate(time.Second), true
		}
	}
	if !found {
		return fmt.Errorf("there is no token named %.80q in %s; `ambit token list` shows them", name, path)
	}
	return writeTokens(path, tokens)
}

// lockTokens keeps others from changing a file meanwhile: what they revoke would be valid again. The lock is of the folder, since the file is replaced.
func lockTokens(path string) (unlock func(), err error) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("lock tokens: %w", err)
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		folder.Close()
		return nil, fmt.Errorf("lock tokens: %w", err)
	}
	return func() { folder.Close() }, nil
}

func writeTokens(path string, tokens []Token) error {
	data, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return fmt.Errorf("encode tokens: %w", err)
	}
	if err := renameio.WriteFile(path, append(data, '\n'), 0o600, renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}

// lookAgain is how old what was read of the file may be: so long a revoked token may still be taken.
const lookAgain = time.Second

// Tokens authenticates by the tokens of a file, which may change. It is safe for concurrent use.
type Tokens struct {
	path string
	now  func() time.Time
	fail func(error)

	mu     sync.Mutex
	looked time.Time
	info   fs.FileInfo
	failed string // what was told last
	byHash map[string]Token
}

// NewTokens reads a file, which need not be there. A later one that cannot be read is told to fail, and nobody is known by it.
func NewTokens(path string, fail func(error)) (*Tokens, error) {
	t := &Tokens{path: path, now: time.Now, fail: fail}
	if err := t.read(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tokens) read() error {
	tokens, err := ReadTokens(t.path)
	t.byHash = make(map[string]Token, len(tokens))
	for _, token := range tokens {
		t.byHash[token.SHA256] = token
	}
	return err
}

func (t *Tokens) find(sum string) (Token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); now.Sub(t.looked) > lookAgain || now.Before(t.looked) {
		t.looked = now
		info, err := os.Stat(t.path)
		changed := (info == nil) != (t.info == nil) || info != nil && (!os.SameFile(info, t.info) || !info.ModTime().Equal(t.info.ModTime()) || info.Size() != t.info.Size() || info.Mode() != t.info.Mode())
		if err != nil {
			info = nil
		}
		if changed {
			if err := t.read(); err == nil {
				t.failed = ""
			} else {
				info = nil // what keeps it from being read may go away without a change of it
				if t.failed != err.Error() {
					t.failed = err.Error()
					t.fail(err)
				}
			}
		}
		t.info = info
	}
	token, ok := t.byHash[sum]
	return token, ok
}

// Authenticate implements [api.Authenticator].
func (t *Tokens) Authenticate(r *http.Request) (api.Principal, bool, error) {
	text, ok := bearer(r)
	if !ok || !strings.HasPrefix(text, prefix) {
		return api.Principal{}, false, nil
	}
	sum := hash(text)
	token, ok := t.find(sum)
	if !ok || subtle.ConstantTimeCompare([]byte(token.SHA256), []byte(sum)) != 1 {
		return api.Principal{}, false, api.Unauthorized("the token is not known here")
	}
	if !token.Valid(t.now()) {
		return api.Principal{}, false, api.Unauthorized("the token %s was revoked, or has expired", token.Name)
	}
	return api.Principal{Name: "token:" + token.Name, Role: token.Role}, true, nil
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}
