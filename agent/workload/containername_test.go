package workload

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/ambit-nhi/ambit/event"
)

const containerA = "0526de3dfe11ea9e0d886a2e90a48a97c3873ca6381ab5d37144a9ac52ecd965"

func TestLastingName(t *testing.T) {
	f := func(name, image string, labels map[string]string, want string) {
		t.Helper()
		c := told{Name: "/" + name}
		c.Config.Image, c.Config.Labels = image, labels
		if got := c.lastingName(containerA); got != want {
			t.Errorf("%s of %s is called %q, want %q", name, image, got, want)
		}
	}
	f("web", "shop/checkout:1.2", nil, "web")
	f("my_app", "shop/checkout:1.2", nil, "my_app")
	f("flamboyant_lichterman", "localhost/shop/checkout:1.2", nil, "localhost/shop/checkout")
	f("zen_wing3", "postgres:16", nil, "docker.io/library/postgres")
	f("zen_wing34", "postgres:16", nil, "zen_wing34")
	f("zen_wing", "registry.example:5000/postgres@sha256:ab", nil, "registry.example:5000/postgres")
	f("", "grafana/grafana", nil, "docker.io/grafana/grafana")
	compose := map[string]string{"com.docker.compose.project": "shop"}
	f("shop-web-1", "shop/checkout", compose, "shop-web-1")
	f("happy_fermi", "shop/checkout", compose, "happy_fermi") // container_name of the file
	f("0526de3dfe11_shop-web-1", "shop/checkout", compose, "shop-web-1")
	once := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.oneoff": "True"}
	f("shop-web-run-0123456789ab", "shop/checkout", once, "shop-web")
	f("migrate", "shop/checkout", once, "migrate")
	f("shop_web.1.x8f3kq0z0a1b2c3d4e5f6g7h8", "shop/checkout", map[string]string{"com.docker.swarm.service.name": "shop_web"}, "shop_web")
	// An image that was made to be taken for another's service.
	f("scratch", "evil/miner", map[string]string{"com.docker.swarm.service.name": "shop_web"}, "scratch")
	f("happy_fermi", "evil/miner", map[string]string{"com.docker.swarm.service.name": "shop_web"}, "docker.io/evil/miner")
}

func TestImage(t *testing.T) {
	f := func(asked, id string, tags, digests []string, wantImage, wantRepository string) {
		t.Helper()
		c := told{ImageID: "sha256:" + id, img: toldImage{tags, digests}}
		c.Config.Image = asked
		if image, repository := c.image(), c.repository(); image != wantImage || repository != wantRepository {
			t.Errorf("%s: %q of %q, want %q of %q", asked, image, repository, wantImage, wantRepository)
		}
	}
	f("postgres:16", "17ab", []string{"postgres:16"}, []string{"other.example/pg@sha256:1", "postgres@sha256:2"}, "postgres:16@sha256:2", "docker.io/library/postgres")
	f("shop/checkout", "17ab", nil, nil, "shop/checkout", "docker.io/shop/checkout")
	f("a.example/b@sha256:3", "17ab", nil, []string{"a.example/b@sha256:4"}, "a.example/b@sha256:3", "a.example/b")
	f("17ab", "17abcd", []string{"<none>:<none>"}, []string{"a.example/b@sha256:4"}, "a.example/b@sha256:4", "a.example/b")
	f("sha256:17ab", "17ab", nil, nil, "image/17ab", "docker.io/image/17ab")
}

func TestAdjectivesAreSorted(t *testing.T) {
	if !slices.IsSorted(adjectives) {
		t.Error("a search would miss some")
	}
}

// FuzzTold checks that whatever an engine says gives an identity, and only images' names hold a slash.
func FuzzTold(f *testing.F) {
	f.Add([]byte(`{"Name":"/web","Image":"sha256:17ab","Config":{"Image":"shop/checkout:1.2","Labels":{"com.docker.compose.project":"shop"}}}`))
	f.Add([]byte(`{"Name":"/zen_wing","Config":{"Image":"@:/"}}`))
	td, err := event.ParseTrustDomain("shop.example")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c told
		if json.Unmarshal(data, &c) != nil {
			return
		}
		id := event.ContainerIdentity(td, "n1", c.lastingName(containerA))
		if parsed, err := event.ParseIdentity(id.String()); err != nil || parsed != id {
			t.Fatalf("%q: %v", id, err)
		}
		if !strings.Contains(c.repository(), "/") {
			t.Fatalf("image %q could be a container", c.repository())
		}
		c.image()
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"Type":"container","Action":"start","Actor":{"ID":"` + containerA + `","Attributes":{"name":"web"}},"time":1795319561}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		id, what, said, err := parseEvent(line)
		if what != containerOther && (err != nil || containerID(id) == "") {
			t.Fatalf("%q %d %v", id, what, err)
		}
		if what == containerChanged {
			said.lastingName(id)
		}
	})
}
