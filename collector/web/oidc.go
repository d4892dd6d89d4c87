package web

// OIDC logs people in by an OpenID provider.
type OIDC struct{}

// Name is what people know the provider by.
func (o *OIDC) Name() string { return "" }

func (s *Site) oidcPages() {}
