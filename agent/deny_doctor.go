package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/bpf"
)

// checkDeny says whether decisions can be followed on this machine. Watching needs none of it.
func (h *host) checkDeny(hooks []bpf.HookStatus, pins error) Check {
	c := Check{Name: "deny", Status: CheckOK, Found: "connections can be refused and cut"}
	var refused []string
	for _, s := range hooks {
		if s.Err != nil {
			refused = append(refused, s.Name+": "+firstLine(s.Err))
		}
	}
	switch {
	case len(refused) > 0:
		c.Found = "the kernel refuses " + strings.Join(refused, "; ")
		c.Remedy = "use a newer kernel (5.10 is the oldest that takes it), or ask its vendor to allow these program types"
	case pins != nil && h.capable(unix.CAP_SYS_ADMIN):
		c.Found += "; the agent mounts what it needs: " + pins.Error()
		return c
	case pins != nil:
		c.Found = pins.Error()
		c.Remedy = "mount it: mount -t bpf bpf /sys/fs/bpf, and give it to the agent's container"
	case !h.capable(unix.CAP_SYS_ADMIN):
		c.Found = "connections can be refused and cut; without CAP_SYS_ADMIN, those in other network namespaces by dropping their packets"
		return c
	default:
		return c
	}
	c.Status, c.Meaning = CheckDegraded, "decisions are not followed on this machine: nothing is refused"
	return c
}

// RemovePins removes all that an agent left in the kernel: nothing is refused on this machine any more. It says whether there was anything. While an agent
// runs, it refuses: that would only put it back.
func RemovePins(pins string) (bool, error) {
	if _, err := os.Stat(pins); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := lockFolder(pins)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("%w and holds %s; stop it first, or turn enforcement off with the break-glass file", ErrRuns, pins)
	}
	if err != nil {
		return false, err
	}
	defer lock.Close()
	return bpf.RemoveDeny(pins)
}
