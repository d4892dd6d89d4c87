package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/ambit-nhi/ambit/internal/testenv/traffic"
)

// Program is the traffic program, running in a container.
type Program struct {
	Name string // what it tells others: namespace/pod/container

	mu  sync.Mutex // orders are carried out one after the other
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// startProgram starts it in a cgroup and a network namespace.
func (n *Node) startProgram(name, cgroup string, namespace *os.File) (*Program, error) {
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	p := &Program{Name: name, cmd: exec.Command(n.program, name)}
	p.cmd.Env = []string{"GOMAXPROCS=1", "GODEBUG=netdns=go"}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(out)
	if err := n.spawner.start(namespace, p.cmd); err != nil {
		return nil, fmt.Errorf("start the program of %s: %w", name, err)
	}
	return p, nil
}

// Serve listens.
func (p *Program) Serve(what traffic.Serve) error {
	_, err := p.order(traffic.Order{Serve: &what})
	return err
}

// Dial connects, and says what became of it, in the same order.
func (p *Program) Dial(dials ...traffic.Dial) ([]traffic.Dialled, error) {
	answer, err := p.order(traffic.Order{Dial: dials})
	if err == nil && len(answer.Dialled) != len(dials) {
		err = fmt.Errorf("program of %s: %d answers to %d dials", p.Name, len(answer.Dialled), len(dials))
	}
	return answer.Dialled, err
}

// Stop ends the program in order, and says what it served.
func (p *Program) Stop() ([]traffic.Served, error) {
	answer, err := p.order(traffic.Order{Stop: true})
	return answer.Served, errors.Join(err, p.wait())
}

func (p *Program) order(o traffic.Order) (traffic.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var answer traffic.Answer
	err := json.NewEncoder(p.in).Encode(o)
	if err == nil {
		err = p.out.Decode(&answer)
	}
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return answer, fmt.Errorf("program of %s: %w", p.Name, err)
	}
	return answer, nil
}

func (p *Program) wait() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.ProcessState != nil {
		return nil
	}
	p.in.Close()
	return p.cmd.Wait()
}

// kill ends it as a container's end does. An order that is being carried out fails.
func (p *Program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.wait()             // and then says why
}
