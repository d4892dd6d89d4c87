package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// linker is the dynamic linker of the toolbox's libraries.
func (t toolbox) linker() string { return filepath.Join(t.root, libraries, "ld-linux-x86-64.so.2") }

// qemu is a command that boots a guest. Its first serial port, the console, goes to a file; the second to standard output.
func (t toolbox) qemu(ctx context.Context, image, initramfs, console string) *exec.Cmd {
	at := func(name string) string { return filepath.Join(t.root, name) }
	cmd := exec.CommandContext(ctx, t.linker(), "--library-path", at(libraries), at("usr/bin/qemu-system-x86_64"),
		"-L", at("usr/share/qemu"), "-L", at("usr/share/seabios"),
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048", "-machine", "q35", // never -cx16: 7.2 kernels then lack sk_storage
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-chardev", "file,id=console,path="+console, "-serial", "chardev:console",
		"-chardev", "stdio,id=tests,signal=off", "-serial", "chardev:tests",
		"-kernel", image, "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 oops=panic",
	)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+at(libraries+"/qemu"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// A guestRun is what a guest did.
type guestRun struct {
	kernel  kernel
	uname   string // empty if it never came up
	tests   []testRun
	ended   map[string]bool // packages whose tests ran to their end
	done    bool
	trouble []string // what went wrong besides tests, a line each
	death   string   // what the kernel said when it died
	retries int
	took    time.Duration
}

// runGuest boots a guest and lets it test, a second time if its kernel dies: emulated machines do so now and then.
func runGuest(ctx context.Context, o options, k kernel, tools toolbox, initramfs string, p *progress) (guestRun, error) {
	began := time.Now()
	for retries := 0; ; retries++ {
		r, err := bootGuest(ctx, o, k, tools, initramfs, p)
		r.retries, r.took = retries, time.Since(began)
		if err != nil || r.death == "" || retries > 0 {
			return r, err
		}
		p.say("%-4s the guest died (%s); one more try", k.series, r.death)
	}
}

func bootGuest(ctx context.Context, o options, k kernel, tools toolbox, initramfs string, p *progress) (guestRun, error) {
	runtime.LockOSThread() // Pdeathsig means the thread that started the child
	defer runtime.UnlockOSThread()
	r := guestRun{kernel: k}
	folder := filepath.Join(o.cache, "run-"+k.series)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return r, err
	}
	console := filepath.Join(folder, "console.log")
	limit, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	cmd := tools.qemu(limit, k.image, initramfs, console)
	var said strings.Builder
	cmd.Stderr = &said
	tests, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	log, err := os.Create(filepath.Join(folder, "tests.log"))
	if err != nil {
		return r, err
	}
	defer log.Close()
	p.say("%-4s boots %s", k.series, k.version)
	if err := cmd.Start(); err != nil {
		return r, fmt.Errorf("start QEMU: %w", err)
	}
	readErr := readGuest(ctx, tests, log, &r, p) // not by the limit: what was said before it counts
	if readErr != nil {
		cancel() // nobody reads any more
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if r.done {
		return r, nil
	}
	r.death = deathOf(console)
	switch {
	case r.death != "":
	case errors.Is(limit.Err(), context.DeadlineExceeded):
		r.trouble = append(r.trouble, fmt.Sprintf("the guest took more than %s: see %s", o.timeout, console))
	case readErr != nil:
		return r, readErr
	case err != nil:
		return r, fmt.Errorf("run QEMU: %w: %s", err, strings.TrimSpace(said.String()))
	default: // a triple fault says nothing
		r.death = "ended without a word: see " + console
	}
	return r, nil
}

var deaths = regexp.MustCompile(`(?m)(Kernel panic - not syncing.*|.*double fault.*|.*BUG: .*|.*Oops: .*)$`)

// deathOf finds in a console's log of what the kernel died, if it did.
func deathOf(console string) string {
	b, err := os.ReadFile(console)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(deaths.Find(b)))
}
