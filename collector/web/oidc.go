package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"
)

// Provider logs people in by OpenID Connect, with the authorization code flow; [auth.OIDC] does.
type Provider interface {
	// Issuer is its name for people.
	Issuer() string
	// Leave gives where somebody logs in, who comes back to redirect.
	Leave(ctx context.Context, redirect, state, nonce, verifier string) (string, error)
	// Return gives the token of who came back with a code.
	Return(ctx context.Context, redirect, code, nonce, verifier string) (string, error)
}

// away is what the browser keeps for us while somebody is at the provider.
type away struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // that the code was asked for by us (PKCE)
	Next     string `json:"p"`
}

// Bounds, in bytes.
const (
	maxAnswerOIDC = 4096 // of a code or state
	maxNext       = 2048 // of where somebody goes on after logging in: the browser keeps it in a cookie
)

func (s *Site) oidcPages() {
	s.mux.HandleFunc("GET /login/oidc", func(w http.ResponseWriter, r *http.Request) {
		next := local(r.FormValue("next"))
		if len(next) > maxNext {
			s.fail(w, r, Viewer{}, faultf(http.StatusBadRequest, "The address to go on to after logging in has %d bytes, more than %d. Log in without it, at /login.", len(next), maxNext))
			return
		}
		a := away{rand.Text(), rand.Text(), rand.Text() + rand.Text(), next} // 130 random bits each; a verifier has 43 characters at least
		to, err := s.OIDC.Leave(r.Context(), s.comeBack(r), a.State, a.Nonce, a.Verifier)
		var sealed string
		if err == nil {
			sealed, err = s.seal.close(loginCookie, a, s.now().Add(loginLife))
		}
		if err == nil {
			err = s.remember(w, loginCookie, sealed, loginLife, http.SameSiteLaxMode) // the way back comes from another site
		}
		if err != nil {
			s.log.Warn("log in by the OpenID provider", "error", err)
			s.showLogin(w, r, http.StatusBadGateway, "The OpenID provider does not answer. Try again, or log in with a token.")
			return
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
	s.mux.HandleFunc("GET /login/oidc/callback", s.comesBack)
}

// comeBack is where the provider sends people. It must be among those that the provider knows of this client.
func (s *Site) comeBack(r *http.Request) string {
	scheme := "http"
	if s.Secured {
		scheme = "https"
	}
	return scheme + "://" + r.Host + "/login/oidc/callback"
}

func (s *Site) comesBack(w http.ResponseWriter, r *http.Request) {
	var a away
	text, _ := s.cookie(r, loginCookie)
	err := s.seal.open(loginCookie, text, s.now(), &a)
	s.forget(w, loginCookie) // it is good once
	q := r.URL.Query()
	state, code := q.Get("state"), q.Get("code")
	switch {
	case err != nil || len(state) > maxAnswerOIDC || subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) != 1:
		s.showLogin(w, r, http.StatusBadRequest, "This login was not begun in this browser, or took too long. Begin again.")
		return
	case q.Get("error") != "":
		s.log.Info("the OpenID provider logs nobody in", "error", fmt.Sprintf("%.100s", q.Get("error")), "description", fmt.Sprintf("%.200s", q.Get("error_description")))
		s.showLogin(w, r, http.StatusForbidden, "The OpenID provider did not log you in.")
		return
	case code == "" || len(code) > maxAnswerOIDC:
		s.showLogin(w, r, http.StatusBadRequest, "The OpenID provider gave no code. Begin again.")
		return
	}
	if err := s.Gate.Login(r); err != nil {
		s.showLogin(w, r, status(err), err.Error())
		return
	}
	token, err := s.OIDC.Return(r.Context(), s.comeBack(r), code, a.Nonce, a.Verifier)
	if err != nil {
		s.log.Warn("log in by the OpenID provider", "error", err)
		s.showLogin(w, r, http.StatusBadGateway, "The login at the OpenID provider could not be finished; the collector's log says why.")
		return
	}
	who, err := s.Gate.Judge(r, token)
	if err != nil {
		code := status(err)
		if code == http.StatusInternalServerError {
			s.fail(w, r, Viewer{}, err)
			return
		}
		s.showLogin(w, r, code, err.Error())
		return
	}
	if err := s.start(w, token, sessionLife); err != nil {
		s.fail(w, r, Viewer{}, err)
		return
	}
	// Not a redirect: the browser would take it for a part of the way from the other site, and keep the session's cookie to itself.
	s.render(w, r, http.StatusOK, "bounce", who, a.Next)
}
