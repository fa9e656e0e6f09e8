package vaulttest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// Process is a program that runs until it is stopped. After it has ended, Restart starts it again, while
// others may ask whether it runs.
type Process struct {
	Log string // the file that it prints to

	program Program
	life    atomic.Pointer[life]
}

// life is one time that the program runs.
type life struct {
	cmd   *exec.Cmd
	from  int64 // where in the log its own part begins
	ended chan struct{}
}

// running is what to end however the tests end.
var running = struct {
	sync.Mutex
	all    map[*life]bool
	closed bool
}{all: map[*life]bool{}}

// Start starts the program in a process group of its own: Ctrl-C does not end it before the test has
// cleaned up, and its children are ended with it.
func (p Program) Start() (*Process, error) {
	started := &Process{Log: filepath.Join(p.Dir, p.Log), program: p}
	if err := started.Restart(); err != nil {
		return nil, err
	}
	return started, nil
}

// Restart starts the program again, which must have ended.
func (p *Process) Restart() error {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	l := &life{cmd: exec.Command(p.program.Path, p.program.Args...), ended: make(chan struct{})}
	if info, err := log.Stat(); err == nil {
		l.from = info.Size()
	}
	l.cmd.Dir, l.cmd.Env, l.cmd.Stdout, l.cmd.Stderr = p.program.Dir, p.program.Env, log, log
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	running.Lock()
	defer running.Unlock()
	if running.closed {
		return fmt.Errorf("%s is not started: the tests are being stopped", p.program.Path)
	}
	if err := l.cmd.Start(); err != nil {
		return err
	}
	running.all[l] = true
	p.life.Store(l)
	go func() {
		l.cmd.Wait()
		close(l.ended)
	}()
	return nil
}

// Stop ends the process and its children, and gives it ten seconds to end by itself.
func (p *Process) Stop() {
	l := p.life.Load()
	l.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(10 * time.Second):
	}
	l.kill()
}

// Kill ends the process and its children at once: a plugin outlives a Vault that crashes.
func (p *Process) Kill() { p.life.Load().kill() }

func (l *life) kill() {
	running.Lock()
	left := running.all[l]
	delete(running.all, l)
	running.Unlock()
	if left { // else the number may be another's by now
		syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL)
		<-l.ended
	}
}

// Crash ends the process itself and at once, as the kernel does when memory runs out.
func (p *Process) Crash() {
	l := p.life.Load()
	l.cmd.Process.Signal(os.Kill)
	<-l.ended
}

// Alive reports whether the process runs.
func (p *Process) Alive() bool {
	select {
	case <-p.life.Load().ended:
		return false
	default:
		return true
	}
}

// Printed returns what the process has printed.
func (p *Process) Printed() string {
	log, _ := os.ReadFile(p.Log)
	return string(log[min(p.life.Load().from, int64(len(log))):])
}

// WaitUntil asks again and again whether the program has come so far. A busy machine may need long for it.
func (p *Process) WaitUntil(ctx context.Context, ready func() bool) error {
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	l := p.life.Load()
	for !ready() {
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-l.ended:
		case <-limit.Done():
		}
		printed := p.Printed()
		return fmt.Errorf("%s is not ready: %s", filepath.Base(p.program.Path), printed[max(0, len(printed)-2000):])
	}
	return nil
}

// endAll ends whatever was started, and lets nothing more be.
func endAll() {
	running.Lock()
	running.closed = true
	var left []*life
	for l := range running.all {
		left = append(left, l)
	}
	running.Unlock()
	for _, l := range left {
		l.kill()
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
