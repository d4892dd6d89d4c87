package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Logs says whether people can be logged in with a browser.
func (o *OIDC) Logs() bool { return o.cfg.ClientID != "" }

// Issuer is the provider's name for people: its host.
func (o *OIDC) Issuer() string {
	u, err := url.Parse(o.cfg.Issuer)
	if err != nil {
		return o.cfg.Issuer
	}
	return u.Host
}

// client is what logs people in, and what verifies the tokens that come of it.
func (o *OIDC) client(redirect string) (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	verifier, err := o.provider()
	if err != nil {
		return nil, nil, fmt.Errorf("ask the OpenID provider %s: %w", o.cfg.Issuer, err)
	}
	return &oauth2.Config{
		ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret, Endpoint: o.endpoint, RedirectURL: redirect, Scopes: append([]string{oidc.ScopeOpenID}, o.cfg.Scopes...),
	}, verifier, nil
}

// Leave gives where at the provider somebody logs in, who comes back to redirect with state. The token is to hold nonce, and only who knows verifier (RFC
// 7636) gets it.
func (o *OIDC) Leave(_ context.Context, redirect, state, nonce, verifier string) (string, error) {
	c, _, err := o.client(redirect)
	if err != nil {
		return "", err
	}
	return c.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

// Return exchanges the code with which somebody came back for an ID token, which [OIDC.Authenticate] takes as long as it is good.
func (o *OIDC) Return(ctx context.Context, redirect, code, nonce, verifier string) (string, error) {
	c, tokens, err := o.client(redirect)
	if err != nil {
		return "", err
	}
	answer, err := c.Exchange(oidc.ClientContext(ctx, o.exchange), code, oauth2.VerifierOption(verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.ErrorCode != "" {
			return "", fmt.Errorf("the OpenID provider gives no token: %.100s", refused.ErrorCode)
		}
		if refused != nil && refused.Response != nil {
			return "", fmt.Errorf("the OpenID provider gives no token: %s", refused.Response.Status) // and not what it says: that may be long, or hold secrets
		}
		return "", fmt.Errorf("get a token of the OpenID provider: %w", err)
	}
	text, _ := answer.Extra("id_token").(string)
	if text == "" || len(text) > maxJWT {
		return "", errors.New("the OpenID provider gives no ID token, or one that is too long")
	}
	token, err := tokens.Verify(ctx, text)
	if err != nil {
		return "", fmt.Errorf("the ID token is not accepted: %s", reason(err))
	}
	if !slices.Contains(token.Audience, o.cfg.ClientID) {
		return "", fmt.Errorf("the ID token is not accepted: it is for %.200q", token.Audience)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1 {
		return "", errors.New("the ID token is not accepted: it was not made for this login")
	}
	return text, nil
}
