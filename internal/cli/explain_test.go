package cli

import (
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

func TestTargetOf(t *testing.T) {
	for text, want := range map[string]string{
		"dns:new.example:443/tcp":                      "dns:new.example:443/tcp",
		"service:db.shop.svc:5432/tcp":                 "svc:db.shop:5432/tcp",
		"net:10.0.0.7/32:22/tcp":                       "net:10.0.0.7/32:22/tcp",
		"spiffe://shop.example/ns/shop/sa/db:5432/tcp": "spiffe://shop.example/ns/shop/sa/db:5432/tcp",
		"node:n1:10250/tcp":                            "",
	} {
		r, err := event.ParseResource(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := targetOf(r); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if got := targetOf(event.Resource{}); got != "" {
		t.Errorf("no resource is %q", got)
	}
}
