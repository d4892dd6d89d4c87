package web

import (
	"net/http"
	"strings"
	"time"
)

// maxToken bounds what is taken for a token, in bytes.
const maxToken = 16 << 10

// loginView is what the page of logging in shows.
type loginView struct {
	Next     string
	Fault    string
	Provider string // of OpenID; empty: none
}

func (s *Site) loginPages() {
	s.mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		s.showLogin(w, r, http.StatusOK, "")
	})
	s.mux.HandleFunc("POST /login", s.postLogin)
	s.mux.HandleFunc("POST /logout", s.postLogout)
	if s.OIDC != nil {
		s.oidcPages()
	}
}

// postLogout ends a session in the browser that asks, and everywhere else where there is a copy of its cookie.
func (s *Site) postLogout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := s.intended(r); err != nil {
		s.fail(w, r, Viewer{}, err)
		return
	}
	held, ok, err := s.held(r)
	if err == nil && ok {
		err = s.Ended.end(r.Context(), held.ID, time.Unix(held.Until, 0))
	} else {
		err = nil // it has ended already
	}
	s.forget(w, sessionCookie)
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	if err != nil {
		s.log.Error("log out", "error", err)
		s.showLogin(w, r, http.StatusServiceUnavailable, "You are logged out in this browser. Other collectors could not be told: if somebody has a copy of the session's cookie, revoke its token.")
		return
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (s *Site) showLogin(w http.ResponseWriter, r *http.Request, code int, fault string) {
	view := loginView{Next: local(r.FormValue("next")), Fault: fault}
	if s.OIDC != nil {
		view.Provider = s.OIDC.Issuer()
	}
	who, err := s.Gate.Who(r)
	if err != nil {
		who = Viewer{}
	}
	s.render(w, r, code, "login", who, view)
}

// postLogin begins a session with a token that the API takes. A page of another site may not send it, although it needs no session yet: who is logged in
// as somebody else without knowing it would work in that name.
func (s *Site) postLogin(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := s.intended(r); err != nil {
		s.fail(w, r, Viewer{}, err)
		return
	}
	token := strings.TrimSpace(r.PostFormValue("token"))
	if token == "" || len(token) > maxToken || strings.ContainsAny(token, " \t\r\n") {
		s.showLogin(w, r, http.StatusBadRequest, "Enter a token: one line, as the command or the file gives it.")
		return
	}
	if _, err := s.Gate.Judge(r, token); err != nil {
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
	http.Redirect(w, r, local(r.PostFormValue("next")), http.StatusSeeOther)
}
