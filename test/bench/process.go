package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a program that was started and is to be stopped.
type process struct {
	cmd    *exec.Cmd
	log    string // the file that it prints to
	exited chan struct{}
}

// start starts a program with a process group of its own. So Ctrl-C does not end it before the
// benchmark has cleaned up, and what it has started itself can be ended with it.
func start(t *tools, log *os.File, name string, args ...string) (*process, error) {
	defer log.Close()
	p := &process{cmd: exec.Command(name, args...), log: log.Name(), exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.dir, log, log
	p.cmd.Env = []string{"HOME=" + t.dir, "TMPDIR=" + t.dir, "PATH=" + os.Getenv("PATH")}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // what is left of its group
	<-p.exited
}

// waitUntil asks again and again whether the program is ready.
func (p *process) waitUntil(ctx context.Context, ready func() bool) error {
	deadline := time.After(30 * time.Second)
	for !ready() {
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-p.exited:
		case <-deadline:
		case <-ctx.Done():
		}
		log, _ := os.ReadFile(p.log)
		return fmt.Errorf("%s is not ready: %s", filepath.Base(p.cmd.Path), log[max(0, len(log)-2000):])
	}
	return nil
}

// freeAddr is a loopback address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
