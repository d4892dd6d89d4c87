package workload

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ambit-nhi/ambit/internal/lru"
)

// engine asks one container engine over Docker's API, of which three questions and the events suffice. Paths have no version: then an engine
// answers in its newest, while each drops old ones at some time.
type engine struct {
	owner   *Containers
	socket  string
	http    *http.Client
	images  *lru.Cache[string, toldImage] // by id
	wait    time.Duration                 // for an answer
	trouble atomic.Pointer[engineTrouble] // nil while the engine answers, or is not there

	followed atomic.Bool // the engine answers, and tells what becomes of its containers
}

type engineTrouble struct {
	err   error
	since time.Time
}

const (
	lookAgain  = 2 * time.Second  // for an engine that is not there, or does not answer
	listAgain  = 10 * time.Minute // in case an event was missed
	answerTime = 10 * time.Second
	maxAnswer  = 64 << 20
	maxEvent   = 1 << 20
	maxImages  = 512
	maxStuck   = 3 // containers in a list that are asked for in vain
)

func newEngine(owner *Containers, socket string) *engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &engine{
		owner: owner, socket: socket, wait: answerTime, images: lru.New[string, toldImage](maxImages),
		http: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 2, IdleConnTimeout: time.Minute}},
	}
}

func (e *engine) run(ctx context.Context) {
	for {
		err := e.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		switch old := e.trouble.Load(); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED): // no such engine here, or it does not run
			e.trouble.Store(nil)
		case err != nil:
			e.owner.fail()
			now := time.Now()
			if old != nil {
				now = old.since
			}
			e.trouble.Store(&engineTrouble{err, now})
		}
		if err == nil {
			continue
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return
		}
	}
}

// watch learns the engine's containers, and follows what becomes of them until it is time to look again.
func (e *engine) watch(ctx context.Context) error {
	if same, err := e.elsewhere(); err != nil || same {
		return errors.Join(err, fs.ErrNotExist)
	}
	since := time.Now().Add(-time.Second) // what happens while the list is made is told again
	if err := e.list(ctx); err != nil {
		return fmt.Errorf("list containers of %s: %w", e.socket, err)
	}
	e.trouble.Store(nil)
	e.followed.Store(true)
	defer e.followed.Store(false)
	until, cancel := context.WithTimeout(ctx, listAgain)
	defer cancel()
	err := e.follow(until, since)
	switch {
	case until.Err() != nil:
		return nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("follow containers of %s: %w", e.socket, err)
}

// elsewhere says whether the socket is the same as an earlier one of the list: /var/run often is /run.
func (e *engine) elsewhere() (bool, error) {
	self, err := os.Stat(e.socket)
	if err != nil {
		return false, err
	}
	for _, other := range e.owner.engines {
		if other == e {
			break
		}
		if st, err := os.Stat(other.socket); err == nil && os.SameFile(self, st) {
			return true, nil
		}
	}
	return false, nil
}

// list learns all containers, also those that do not run: they may be started.
func (e *engine) list(ctx context.Context) error {
	var containers []struct {
		ID    string `json:"Id"`
		State string
	}
	if err := e.get(ctx, "/containers/json", url.Values{"all": {"true"}}, &containers); err != nil {
		return err
	}
	has, stuck := make(map[string]bool, len(containers)), 0
	for _, running := range []bool{true, false} {
		for _, c := range containers {
			if containerID(c.ID) == "" || (c.State == "running") != running {
				continue
			}
			has[c.ID] = true
			err := e.learn(ctx, c.ID)
			if late(ctx, err) {
				e.owner.fail()
				if stuck++; stuck <= maxStuck {
					err = nil // one that is stuck itself must not keep the others from being known
				}
			}
			if err != nil {
				return err
			}
		}
	}
	e.owner.retain(e, has)
	return nil
}

// late says that an answer did not come in time, though there was more.
func late(ctx context.Context, err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
}

// learn asks for one container. One that is gone by now is no error, and one that the engine cannot tell of does not keep the others from being
// known.
func (e *engine) learn(ctx context.Context, id string) error {
	err := e.ask(ctx, id)
	switch {
	case errors.Is(err, errNoSuch):
		e.owner.remove(id)
		return nil
	case errors.Is(err, errRefused):
		e.owner.fail()
		return nil
	}
	return err
}

func (e *engine) ask(ctx context.Context, id string) error {
	var t told
	if err := e.get(ctx, "/containers/"+id+"/json", nil, &t); err != nil {
		return err
	}
	if known := e.images.Get(t.ImageID); known != nil {
		t.img = *known
	} else if err := e.get(ctx, "/images/"+url.PathEscape(t.ImageID)+"/json", nil, &t.img); err == nil {
		e.images.Put(t.ImageID, t.img)
	} else if !errors.Is(err, errNoSuch) { // an image may be removed while its container runs
		return err
	}
	e.owner.put(e, id, t)
	return nil
}

// follow reads events until the engine ends them or ctx does.
func (e *engine) follow(ctx context.Context, since time.Time) error {
	body, err := e.open(ctx, "/events", url.Values{"since": {strconv.FormatInt(since.Unix(), 10)}, "filters": {`{"type":["container"]}`}})
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		id, what, said, err := parseEvent(lines.Bytes())
		if err != nil {
			return err
		}
		switch what {
		case containerChanged:
			e.owner.expect(e, id, said) // it may be gone before it can be asked for
			if err = e.learn(ctx, id); late(ctx, err) {
				e.owner.fail()
				err = nil // the event itself named it
			}
		case containerRemoved:
			e.owner.remove(id)
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

type containerEvent uint8

const (
	containerOther containerEvent = iota
	containerChanged
	containerRemoved
)

// parseEvent reads one event of Docker's API, and what it says of the container.
func parseEvent(line []byte) (id string, what containerEvent, t told, err error) {
	var said struct {
		Type   string
		Action string
		Actor  struct {
			ID         string
			Attributes map[string]string // name and image, and all labels
		}
	}
	if len(line) == 0 {
		return "", containerOther, told{}, nil
	}
	if err := json.Unmarshal(line, &said); err != nil {
		return "", containerOther, told{}, fmt.Errorf("read event: %w", err)
	}
	id = containerID(said.Actor.ID)
	if said.Type != "container" || id == "" {
		return "", containerOther, told{}, nil
	}
	switch said.Action {
	case "create", "start", "rename":
		t.Name, t.Config.Image, t.Config.Labels = said.Actor.Attributes["name"], said.Actor.Attributes["image"], said.Actor.Attributes
		return id, containerChanged, t, nil
	case "destroy", "remove": // as Docker and as Podman say it
		return id, containerRemoved, told{}, nil
	}
	return id, containerOther, told{}, nil
}

var (
	errNoSuch  = errors.New("no such container or image")
	errRefused = errors.New("the engine answers")
)

// get asks for one JSON document, for a bounded time.
func (e *engine) get(ctx context.Context, path string, query url.Values, v any) error {
	ctx, cancel := context.WithTimeout(ctx, e.wait)
	defer cancel()
	body, err := e.open(ctx, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(v); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

func (e *engine) open(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := e.http.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is none that anybody knows
		}
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return nil, errNoSuch
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 256))
	return nil, fmt.Errorf("%w %s: %s", errRefused, answer.Status, strings.TrimSpace(readable(string(said))))
}
