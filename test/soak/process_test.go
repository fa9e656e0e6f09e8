package soak

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that runs until it is stopped.
type process struct {
	cmd    *exec.Cmd
	log    string // the file that it prints to
	exited chan struct{}
}

// running are the processes to stop however the tests end.
var running = struct {
	sync.Mutex
	all   map[*process]bool
	ended bool
}{all: map[*process]bool{}}

// start starts a program in a directory of the test. The program gets a process group of its own:
// Ctrl-C does not end it before the test has cleaned up, and its children can be ended with it.
func start(t *testing.T, dir, log, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: filepath.Join(dir, log), exited: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + workDir, "PATH=" + os.Getenv("PATH")}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	running.Lock()
	defer running.Unlock()
	if running.ended {
		t.Fatal("the tests are being stopped")
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running.all[p] = true
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	p.killGroup()
}

// killGroup ends the process and its children: a plugin outlives a Vault that is killed.
func (p *process) killGroup() {
	running.Lock()
	alive := running.all[p]
	delete(running.all, p)
	running.Unlock()
	if alive { // else the number may be another's by now
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// crash ends the process itself and at once, as the kernel does when memory runs out.
func (p *process) crash() {
	p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func stopEverything() {
	running.Lock()
	running.ended = true
	var left []*process
	for p := range running.all {
		left = append(left, p)
	}
	running.Unlock()
	for _, p := range left {
		p.killGroup()
	}
}

// findings are lines of a log that no test should cause.
func findings(log []byte) (found []string) {
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("DATA RACE")) || bytes.Contains(line, []byte("panic")) {
			found = append(found, string(line))
		}
	}
	return found
}

// tail is the end of a log, of its warnings and errors alone.
func tail(file string) string {
	log, _ := os.ReadFile(file)
	var kept []byte
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("[WARN]")) || bytes.Contains(line, []byte("[ERROR]")) {
			kept = append(kept, line...)
		}
	}
	return string(kept[max(0, len(kept)-1500):])
}

var given sync.Map

// freeAddr is a loopback address that nobody listens on, and that no other call has given.
func freeAddr(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, taken := given.LoadOrStore(l.Addr().String(), true); !taken {
			return l.Addr().String()
		}
	}
}
