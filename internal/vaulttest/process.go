package vaulttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Program is what to start.
type Program struct {
	Path string
	Args []string
	Dir  string   // the working directory
	Log  string   // the file in Dir to which what it prints is added
	Env  []string // the whole environment
}

// Process is a program that runs until it is stopped.
type Process struct {
	Log string // the file that it prints to

	cmd   *exec.Cmd
	from  int64 // where in Log its own part begins
	ended chan struct{}
}

// running are the processes to end however the tests end.
var running = struct {
	sync.Mutex
	all    map[*Process]bool
	closed bool
}{all: map[*Process]bool{}}

// Start starts the program in a process group of its own: Ctrl-C does not end it before the test has
// cleaned up, and its children are ended with it.
func (p Program) Start() (*Process, error) {
	started := &Process{Log: filepath.Join(p.Dir, p.Log), cmd: exec.Command(p.Path, p.Args...), ended: make(chan struct{})}
	log, err := os.OpenFile(started.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil {
		started.from = info.Size()
	}
	cmd := started.cmd
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.Dir, p.Env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	running.Lock()
	defer running.Unlock()
	if running.closed {
		return nil, fmt.Errorf("%s is not started: the tests are being stopped", p.Path)
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	running.all[started] = true
	go func() {
		cmd.Wait()
		close(started.ended)
	}()
	return started, nil
}

// Stop ends the process and its children, and gives it ten seconds to end by itself.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
	p.Kill()
}

// Kill ends the process and its children at once: a plugin outlives a Vault that crashes.
func (p *Process) Kill() {
	running.Lock()
	left := running.all[p]
	delete(running.all, p)
	running.Unlock()
	if left { // else the number may be another's by now
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}

// Crash ends the process itself and at once, as the kernel does when memory runs out.
func (p *Process) Crash() {
	p.cmd.Process.Signal(os.Kill)
	<-p.ended
}

// Alive reports whether the process runs.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Printed returns what the process has printed.
func (p *Process) Printed() string {
	log, _ := os.ReadFile(p.Log)
	return string(log[min(p.from, int64(len(log))):])
}

// WaitUntil asks again and again whether the program has come so far. A busy machine may need long for it.
func (p *Process) WaitUntil(ctx context.Context, ready func() bool) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !ready() {
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-p.ended:
		case <-limit.Done():
		}
		printed := p.Printed()
		return fmt.Errorf("%s is not ready: %s", filepath.Base(p.cmd.Path), printed[max(0, len(printed)-2000):])
	}
	return nil
}

// endAll ends whatever was started, and lets nothing more be.
func endAll() {
	running.Lock()
	running.closed = true
	var left []*Process
	for p := range running.all {
		left = append(left, p)
	}
	running.Unlock()
	for _, p := range left {
		p.Kill()
	}
}

var given sync.Map

// FreeAddr returns a loopback address on which nobody listens, and that no other call has returned: who
// asks at that address would take another's Vault for its own.
func FreeAddr() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		l.Close()
		if _, taken := given.LoadOrStore(l.Addr().String(), true); !taken {
			return l.Addr().String(), nil
		}
	}
}
