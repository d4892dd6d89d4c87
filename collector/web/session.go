package web

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Names of cookies. Under TLS a prefix keeps other hosts of the domain from setting them.
const (
	sessionCookie = "ambit"
	loginCookie   = "ambit-login" // between leaving for an OpenID provider and coming back
)

// How long cookies are good.
const (
	sessionLife = 12 * time.Hour
	loginLife   = 10 * time.Minute
)

// Bounds of cookies, in bytes.
const (
	maxCookie  = 3800 // of one: browsers keep 4096 with its name and attributes
	maxPieces  = 4    // a provider's token may need more than one
	maxSession = maxCookie * maxPieces
)

// csrfHeader and csrfField are where a request shows that it was meant.
const (
	csrfHeader = "Ambit-CSRF"
	csrfField  = "csrf"
)

// errSession is why a cookie does not open. Which of its faults it is, is nobody's business.
var errSession = errors.New("the session has ended; log in again")

// sealer seals what cookies hold, so that only collectors with the same key read it, and nobody makes one up.
type sealer struct {
	aead cipher.AEAD
	mac  []byte
}

func newSealer(key []byte) (s sealer, err error) {
	if len(key) != 32 {
		return s, errNoKey
	}
	derive := func(info string) []byte {
		out, deriveErr := hkdf.Key(sha256.New, key, nil, info, 32)
		err = errors.Join(err, deriveErr)
		return out
	}
	sealing := derive("ambit web: cookies")
	s.mac = derive("ambit web: csrf")
	if err != nil {
		return s, fmt.Errorf("derive keys of sessions: %w", err)
	}
	block, err := aes.NewCipher(sealing)
	if err != nil {
		return s, fmt.Errorf("derive keys of sessions: %w", err)
	}
	s.aead, err = cipher.NewGCMWithRandomNonce(block)
	return s, err
}

// content is what a cookie holds.
type content struct {
	Value   json.RawMessage `json:"v"`
	Expires int64           `json:"e"` // seconds since 1970
}

// close seals a value for a purpose until a time.
func (s sealer) close(purpose string, value any, expires time.Time) (string, error) {
	v, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("seal a cookie: %w", err)
	}
	plain, err := json.Marshal(content{v, expires.Unix()})
	if err != nil {
		return "", fmt.Errorf("seal a cookie: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(purpose))), nil
}

// open reads what close sealed for the same purpose, and has not expired, into a value.
func (s sealer) open(purpose, text string, now time.Time, value any) error {
	if len(text) > maxSession {
		return errSession
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(sealed) < s.aead.Overhead() {
		return errSession
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return errSession
	}
	var c content
	if json.Unmarshal(plain, &c) != nil || now.Unix() >= c.Expires || json.Unmarshal(c.Value, value) != nil {
		return errSession
	}
	return nil
}

// cookieName is what a cookie is called.
func (s *Site) cookieName(name string) string {
	if s.Secured {
		return "__Host-" + name
	}
	return name
}

// piece is the name of a part of a cookie that is too long for one.
func (s *Site) piece(name string, i int) string {
	if i == 0 {
		return s.cookieName(name)
	}
	return s.cookieName(name) + "." + strconv.Itoa(i)
}

// cookie puts together what a request shows under a name.
func (s *Site) cookie(r *http.Request, name string) (string, bool) {
	var b strings.Builder
	for i := range maxPieces {
		c, err := r.Cookie(s.piece(name, i))
		if err != nil {
			break
		}
		b.WriteString(c.Value)
	}
	return b.String(), b.Len() > 0
}

// remember sets a cookie.
func (s *Site) remember(w http.ResponseWriter, name, value string, life time.Duration, same http.SameSite) error {
	if len(value) > maxSession {
		return faultf(http.StatusRequestHeaderFieldsTooLarge, "The token is too long for a session: %d bytes.", len(value))
	}
	for i := range maxPieces {
		c := s.bare(s.piece(name, i), same)
		c.Value, c.MaxAge = value[:min(len(value), maxCookie)], int(life/time.Second)
		if value = value[len(c.Value):]; c.Value == "" {
			c.MaxAge = -1
		}
		http.SetCookie(w, c)
	}
	return nil
}

// forget has the browser drop a cookie.
func (s *Site) forget(w http.ResponseWriter, name string) {
	for i := range maxPieces {
		c := s.bare(s.piece(name, i), http.SameSiteStrictMode)
		c.MaxAge = -1
		http.SetCookie(w, c)
	}
}

func (s *Site) bare(name string, same http.SameSite) *http.Cookie {
	return &http.Cookie{Name: name, Path: "/", HttpOnly: true, Secure: s.Secured, SameSite: same}
}

// session is what the session's cookie holds.
type session struct {
	Token string `json:"t"`
	ID    string `json:"i"` // under which it is ended
	Until int64  `json:"u"` // when it ends by itself, in seconds since 1970
}

// start begins a session with a token that was judged.
func (s *Site) start(w http.ResponseWriter, token string, life time.Duration) error {
	life = min(life, sessionLife)
	until := s.now().Add(life)
	sealed, err := s.seal.close(sessionCookie, session{token, rand.Text(), until.Unix()}, until)
	if err != nil {
		return err
	}
	return s.remember(w, sessionCookie, sealed, life, http.SameSiteStrictMode)
}

// held is the session that a request shows; false where it shows none. An error says that it is not good, or was logged out.
func (s *Site) held(r *http.Request) (session, bool, error) {
	text, ok := s.cookie(r, sessionCookie)
	if !ok {
		return session{}, false, nil
	}
	var held session
	if err := s.seal.open(sessionCookie, text, s.now(), &held); err != nil {
		return session{}, false, err
	}
	if held.ID == "" || s.Ended.has(held.ID) { // those without an id are of collectors that could not end them
		return session{}, false, errSession
	}
	return held, true, nil
}

// Token is the credential that a request's cookie holds; false where it shows no cookie. An error says that the cookie is not good.
func (s *Site) Token(r *http.Request) (string, bool, error) {
	held, ok, err := s.held(r)
	return held.Token, ok, err
}

// nonceSize is that of the part of a CSRF token that differs each time, so that its length when compressed says nothing.
const nonceSize = 16

// CSRF is what a request that changes something has to show, for the session that r belongs to: only a page of ours knows it.
func (s *Site) CSRF(r *http.Request) string {
	nonce := make([]byte, nonceSize, nonceSize+sha256.Size)
	rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(s.stamp(r, nonce))
}

// stamp adds to a nonce what only we can make of it and the session. Who shows no cookie has no session that could be misused; what is stamped
// then is the empty one.
func (s *Site) stamp(r *http.Request, nonce []byte) []byte {
	text, _ := s.cookie(r, sessionCookie)
	m := hmac.New(sha256.New, s.seal.mac)
	m.Write(nonce)
	m.Write([]byte(text))
	return m.Sum(nonce[:len(nonce):len(nonce)])
}

// Meant says whether a request that changes something was sent by one of our pages: by its header or, of a form, its field.
func (s *Site) Meant(r *http.Request) bool {
	text := r.Header.Get(csrfHeader)
	if text == "" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") && r.ParseForm() == nil {
		text = r.PostForm.Get(csrfField)
	}
	shown, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(shown) == nonceSize+sha256.Size && hmac.Equal(shown, s.stamp(r, shown[:nonceSize]))
}

// intended refuses a form that no page of ours has sent.
func (s *Site) intended(r *http.Request) error {
	if !s.Meant(r) {
		return faultf(http.StatusForbidden, "The form was not sent by a page of this session. Load the page again, then send it again.")
	}
	return nil
}
