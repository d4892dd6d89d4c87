package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ambit-nhi/ambit/agent/cut"
	"github.com/ambit-nhi/ambit/agent/enforce"
	"github.com/ambit-nhi/ambit/bpf"
	"github.com/ambit-nhi/ambit/event"
)

var (
	errNoKeys  = errors.New("deny.keys names no key whose decisions count")
	errDenyOff = errors.New("deny.mode is off")
)

// start loads the kernel side, and has it agree with what was held before this start.
func (d *denier) start() (err error) {
	c := d.cfg.Deny
	if c.Mode == DenyOff || len(c.Keys) == 0 {
		if _, err := RemovePins(c.Pins); err != nil { // of an agent before this one
			return fmt.Errorf("lift what was denied: %w", err)
		}
		if c.Mode == DenyOff {
			return errDenyOff
		}
		return errNoKeys
	}
	if d.boot, d.own, err = bootAndCgroup(); err != nil {
		return err
	}
	if d.ownID, err = cut.OwnCgroup(); err != nil && !errors.Is(err, cut.ErrUnsupported) {
		return err
	}
	if err := bpf.MakePins(c.Pins); err != nil {
		return err
	}
	if d.lock, err = lockFolder(c.Pins); err != nil {
		return err
	}
	if d.kernel, err = bpf.LoadDeny(bpf.DenyConfig{CgroupRoot: d.root, Pins: c.Pins}); err != nil {
		return errors.Join(err, d.lock.Close())
	}
	floor := make([]event.Target, len(c.Floor))
	for i, f := range c.Floor {
		if floor[i], err = event.ParseTarget(f); err != nil {
			break
		}
	}
	d.engine = enforce.New(enforce.Config{
		Keys: c.Keys, MaxLife: c.MaxLife, Floor: floor, Protected: c.Protected, AutomaticPerMinute: c.AutomaticPerMinute, AutomaticMax: c.AutomaticMax,
		DryRun: c.Mode == DenyDryRun, Boot: d.boot, Slots: bpf.DenyDecisions, Sorts: bpf.DenySorts, Subjects: bpf.DenySubjects, Rules: bpf.DenyRules - 1024,
	})
	var at enforce.Moment
	if err == nil {
		at, err = d.moment()
	}
	if err != nil {
		return errors.Join(err, d.kernel.Close(), d.lock.Close())
	}
	if err := d.restore(at); err != nil {
		slog.Warn("the decisions of before the start are not known any more; they come again from the stream", "error", err)
	}
	return nil
}

// lockFolder has one agent at a time: two would undo each other's work.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another agent on this machine denies (deny.pins %s): %w", dir, err), f.Close())
	}
	return f, nil
}

// stop leaves in the kernel what is in force, and nothing if nothing is.
func (d *denier) stop() {
	d.save()
	select {
	case s := <-d.saves:
		d.kept(s)
	default:
	}
	errs := []error{d.kernel.Close()}
	if d.engine.Living() == 0 && !d.broken {
		_, err := bpf.RemoveDeny(d.cfg.Deny.Pins)
		errs = append(errs, err)
	}
	if err := errors.Join(append(errs, d.lock.Close())...); err != nil {
		slog.Warn("cannot leave the kernel side of deny in order", "error", err)
	}
}

func bootAndCgroup() (boot, cgroup string, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", "", fmt.Errorf("read which start of the machine this is: %w", err)
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", fmt.Errorf("read the own cgroup: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			cgroup = path
		}
	}
	return strings.TrimSpace(string(id)), cgroup, nil
}
