//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a process may take to end after it was asked to, before it is killed.
const stopGrace = 20 * time.Second

// A Process runs in the background of a host until it ends or is stopped; the lab stops it at the latest.
type Process struct {
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed after the process was reaped; err is set before
	err     error
}

// Start runs a program in the host's background. Both its outputs go to a log file. The kernel kills the program with the
// thread that started it, so a goroutine that called runtime.LockOSThread and ends without unlocking takes it along.
func (h *Host) Start(program string, args ...string) (*Process, error) {
	return h.StartEnv(nil, program, args...)
}

// StartEnv is [Host.Start] with additions to the environment, each KEY=VALUE.
func (h *Host) StartEnv(env []string, program string, args ...string) (*Process, error) {
	log, err := os.CreateTemp(h.lab.dir, h.Name+"-"+filepath.Base(program)+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", program, err)
	}
	defer log.Close()
	cmd := h.Command(context.Background(), program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s on host %s: %w", program, h.Name, err)
	}
	p := &Process{cmd: cmd, logPath: log.Name(), done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, h.lab.onClose(p.Stop)
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why a process that is Done ended: nil for exit status 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// Log is what the process has written so far.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.logPath) // a log that is gone with its lab is an empty one
	return string(text)
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.PID(), err)
	}
	return nil
}

// Stop asks the process to end (SIGTERM), kills it after twenty seconds, and returns when it is gone. It is an error if it
// had to be killed. Stopping what has ended does nothing.
func (p *Process) Stop() error { return p.stop(syscall.SIGTERM) }

func (p *Process) stop(sig os.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.Signal(sig); err != nil {
		return err
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return nil
	case <-grace.C:
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return fmt.Errorf("process %d (%s) did not end within %v and was killed", p.PID(), p.cmd.Args, stopGrace)
}

// WaitLog returns when the process has written the text. It fails at once if the process ends without it.
func (p *Process) WaitLog(ctx context.Context, text string) error {
	return p.Wait(ctx, fmt.Sprintf("%q in the log", text), func() error {
		if strings.Contains(p.Log(), text) {
			return nil
		}
		return errors.New("not there")
	})
}

// Wait is [WaitFor] a condition that only the process can make true, and so no longer than until it has ended.
func (p *Process) Wait(ctx context.Context, what string, cond func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := WaitFor(ctx, what, cond)
	select {
	case <-p.done: // the last that it did may be what is waited for
		if err != nil && cond() == nil {
			return nil
		}
	default:
	}
	if err != nil {
		err = fmt.Errorf("%w; log of %s:\n%s", err, p.cmd.Args, tail(p.Log(), 2000))
	}
	return err
}

// tail is the end of a text, at most n octets.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// state is the process's as proc(5) has it, S for one that sleeps; 0 for one that is gone.
func (p *Process) state() byte {
	select {
	case <-p.done:
		return 0
	default:
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0
	}
	// The command's name stands in parentheses and may hold any character; the state follows the last of them.
	_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
	return state[0]
}
