package node

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// spawner is one thread of the process that goes into pods' network namespaces, to make them and to start processes there. The thread lives as long as
// the node does, since processes started by it die with it.
type spawner struct {
	jobs  chan func()
	ended chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func()), ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *spawner) close() {
	close(s.jobs)
	<-s.ended
}

func (s *spawner) do(job func() error) error {
	done := make(chan error, 1)
	s.jobs <- func() { done <- job() }
	return <-done
}

const ownNamespace = "/proc/thread-self/ns/net"

// newNamespace makes a network namespace with loopback up. It lives as long as the file is open or a process is in it.
func (s *spawner) newNamespace() (namespace *os.File, err error) {
	err = s.do(func() error {
		return abroad(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
			var err error
			namespace, err = os.Open(ownNamespace)
			return err
		})
	})
	return namespace, err
}

// start starts a command in a namespace, or in the node's own if that is nil.
func (s *spawner) start(namespace *os.File, cmd *exec.Cmd) error {
	return s.do(func() error {
		if namespace == nil {
			return cmd.Start()
		}
		return abroad(func() error { return unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET) }, cmd.Start)
	})
}

// abroad leaves the thread's namespace, does a thing, and comes back.
func abroad(leave, do func() error) error {
	home, err := os.Open(ownNamespace)
	if err != nil {
		return err
	}
	defer home.Close()
	if err := leave(); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("return to the node's network: %v", back)) // everything later would be in the wrong one
	}
	return err
}
