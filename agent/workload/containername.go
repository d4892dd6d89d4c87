package workload

import (
	"regexp"
	"slices"
	"strings"
)

// told is what an engine says of a container, as far as it matters here.
type told struct {
	Name    string // with a slash before it
	ImageID string `json:"Image"` // sha256:…
	Config  struct {
		Image  string // as it was asked for
		Labels map[string]string
	}

	img toldImage
}

type toldImage struct {
	RepoTags    []string
	RepoDigests []string
}

// lastingName is the same for every container that is made to replace another: the name that people gave it, or, where nobody did, that of the
// image. Names that hold a "/" are of images, those of containers cannot.
//
// An engine does not say whether it made up a name. Those that it does are an adjective of a fixed list, a surname, and sometimes a digit.
func (t *told) lastingName(id string) string {
	name, labels := strings.TrimPrefix(t.Name, "/"), t.Config.Labels
	// Tasks of a service have new names each time, which begin with the service's. Images have labels, too, but do not name containers.
	if service := labels["com.docker.swarm.service.name"]; service != "" && strings.HasPrefix(name, service+".") {
		return service
	}
	if labels["com.docker.compose.project"] != "" {
		name = strings.TrimPrefix(name, id[:12]+"_") // while it replaces another
		if labels["com.docker.compose.oneoff"] == "True" {
			name = oneOff.ReplaceAllString(name, "")
		}
		return name
	}
	if name == "" || isGenerated(name) {
		return t.repository()
	}
	return name
}

var (
	oneOff    = regexp.MustCompile(`(-run|_run)[-_][0-9a-f]{12}$`)
	generated = regexp.MustCompile(`^([a-z]+)_[a-z]+[0-9]?$`)
)

func isGenerated(name string) bool {
	m := generated.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	_, found := slices.BinarySearch(adjectives, m[1])
	return found
}

// adjectives are those that Docker and Podman begin made-up names with, sorted; not those that people would use too, such as "big" or "small".
var adjectives = strings.Fields(`
admiring adoring affectionate agitated amazing angry awesome beautiful blissful bold boring brave busy charming clever compassionate competent
condescending confident cool cranky crazy dazzling determined distracted dreamy eager ecstatic elastic elated elegant eloquent epic exciting
fervent festive flamboyant focused friendly frosty funny gallant gifted goofy gracious great happy hardcore heuristic hopeful hungry infallible
inspiring intelligent interesting jolly jovial keen kind laughing loving lucid magical modest musing mystifying naughty nervous nice nifty
nostalgic objective optimistic peaceful pedantic pensive practical priceless quirky quizzical recursing relaxed reverent romantic sad serene
sharp silly sleepy stoic strange stupefied suspicious sweet tender thirsty trusting unruffled upbeat vibrant vigilant vigorous wizardly wonderful
xenodochial youthful zealous zen`)

// repository is the image's name without tag and digest, but with its registry, so that it always holds a "/".
func (t *told) repository() string {
	name := t.reference()
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	registry, rest, found := strings.Cut(name, "/")
	switch {
	case !found:
		return "docker.io/library/" + name
	case rest == "" || !strings.ContainsAny(registry, ".:") && registry != "localhost":
		return "docker.io/" + name
	}
	return name
}

// reference is what the image is called: as it was asked for, or, where that was its id, by one of its names, or else its id.
func (t *told) reference() string {
	asked := t.Config.Image
	_, id, _ := strings.Cut(t.ImageID, ":")
	if asked != "" && !strings.HasPrefix(asked, "sha256:") && (len(asked) < 4 || !strings.HasPrefix(id, asked)) {
		return asked
	}
	for _, names := range [][]string{t.img.RepoTags, t.img.RepoDigests} {
		for _, name := range names {
			if !strings.HasPrefix(name, "<none>") {
				return name
			}
		}
	}
	return "image/" + id
}

// image is the reference with the digest, where the image has one; one that was made here has none.
func (t *told) image() string {
	reference := t.reference()
	if strings.Contains(reference, "@") || len(t.img.RepoDigests) == 0 {
		return reference
	}
	digest := t.img.RepoDigests[0]
	for _, d := range t.img.RepoDigests {
		named := told{}
		if named.Config.Image = d; named.repository() == t.repository() {
			digest = d
		}
	}
	_, digest, _ = strings.Cut(digest, "@")
	return reference + "@" + digest
}
