package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// many is what an agent takes when it attaches to many files.
type many struct {
	before, after memory
	targets       uint64
	took          time.Duration
}

// attachMany runs programs with files of their own: two in five have a libssl, as many a libcrypto, the rest are Go programs.
func (s *stage) attachMany(o options) (m many, err error) {
	if o.targets == 0 {
		return m, nil
	}
	folder := filepath.Join(s.folder, "many")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return m, err
	}
	pairs := o.targets * 2 / 5
	var commands []*exec.Cmd
	for i := range pairs {
		cmd, err := ownOpenSSL(folder, i)
		if err != nil {
			return m, err
		}
		commands = append(commands, cmd)
	}
	for i := range o.targets - 2*pairs {
		cmd, err := ownGo(o.programs, folder, i)
		if err != nil {
			return m, err
		}
		commands = append(commands, cmd)
	}
	a, err := s.startAgent(o.binary, true)
	if err != nil {
		return m, err
	}
	defer func() {
		if stopped := a.stop(); err == nil {
			err = stopped
		}
	}()
	if err := a.resetPeak(); err != nil {
		return m, err
	}
	h, err := a.seen()
	if err != nil {
		return m, err
	}
	if m.before, err = a.memory(); err != nil {
		return m, err
	}
	had := h.Gauges["tls-targets"]
	g, err := s.cgroup("many")
	if err != nil {
		return m, err
	}
	start := time.Now()
	for _, cmd := range commands {
		cmd.Stderr = io.Discard
		in, err := cmd.StdinPipe() // they wait for what is never said
		if err != nil {
			return m, err
		}
		if err := g.start(cmd); err != nil {
			return m, err
		}
		defer func() {
			in.Close()
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		}()
	}
	for m.targets < uint64(o.targets) {
		if time.Since(start) > 3*time.Minute {
			return m, fmt.Errorf("the agent is attached to %d files of %d after %s: %s", m.targets, o.targets, time.Since(start).Round(time.Second), strings.Join(h.Missing, "; "))
		}
		if h, err = s.told.next(s.ctx); err != nil {
			return m, err
		}
		m.targets = max(h.Gauges["tls-targets"], had) - had
	}
	m.took = time.Since(start)
	if _, err := a.seen(); err != nil {
		return m, err
	}
	m.after, err = a.memory()
	return m, err
}

// ownOpenSSL is a server that waits, with libraries that no other program has.
func ownOpenSSL(folder string, i int) (*exec.Cmd, error) {
	dir := filepath.Join(folder, fmt.Sprint("openssl", i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	libraries, err := librariesOf("openssl")
	if err != nil {
		return nil, err
	}
	for _, library := range libraries {
		if err := copyDistinct(library, filepath.Join(dir, filepath.Base(library)), i); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("openssl", "s_server", "-accept", "127.0.0.1:0", "-nocert", "-quiet")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+dir)
	return cmd, nil
}

// librariesOf asks the loader for the files that are a program's OpenSSL.
func librariesOf(program string) (files []string, err error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", program, err)
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return nil, fmt.Errorf("list libraries of %s: %w", path, err)
	}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 2 && (strings.HasPrefix(words[0], "libssl.") || strings.HasPrefix(words[0], "libcrypto.")) {
			files = append(files, words[2])
		}
	}
	if len(files) != 2 {
		return nil, fmt.Errorf("%s has not libssl and libcrypto but %v", path, files)
	}
	return files, nil
}

// ownGo is a Go program that waits.
func ownGo(programs, folder string, i int) (*exec.Cmd, error) {
	all, err := filepath.Glob(filepath.Join(programs, "go1.*"))
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no Go programs in %s; get them with `make tls-stacks`", programs)
	}
	slices.Sort(all)
	path := filepath.Join(folder, fmt.Sprint("go", i))
	return exec.Command(path, "server"), copyDistinct(all[i%len(all)], path, i)
}

// copyDistinct copies a program, with something behind it that others do not have.
func copyDistinct(from, to string, i int) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	w := bufio.NewWriter(out)
	_, err = io.Copy(w, in)
	fmt.Fprintf(w, "copy %d", i)
	if err = errors.Join(err, w.Flush(), out.Close()); err != nil {
		return fmt.Errorf("copy a program: %w", err)
	}
	return nil
}
