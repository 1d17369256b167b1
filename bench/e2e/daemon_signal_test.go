//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
)

// edit replaces a part of a configuration.
func edit(t testing.TB, conf, old, fresh string) {
	t.Helper()
	text, err := os.ReadFile(conf)
	if err == nil && !strings.Contains(string(text), old) {
		err = fmt.Errorf("no %q in %s", old, text)
	}
	if err == nil {
		err = os.WriteFile(conf, []byte(strings.ReplaceAll(string(text), old, fresh)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (e *ends) startA(t testing.TB, ctx context.Context) *lab.Process {
	t.Helper()
	return e.start(t, ctx, e.a, e.insideA, e.confA, e.sockA, "10.2.0.0/16", "fd02::/64")
}

func (e *ends) startB(t testing.TB, ctx context.Context) *lab.Process {
	t.Helper()
	return e.start(t, ctx, e.b, e.insideB, e.confB, e.sockB, "10.1.0.0/16", "fd01::/64")
}

// ask asks the engine of a.
func (e *ends) ask(t testing.TB, ctx context.Context, into any, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(ctx, e.program, append(args, "--json", "--socket", e.sockA)...).Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		t.Fatalf("warren %v: %v\n%s", args, err, out)
	}
}

// ends: the process ends by a signal in good time, with exit status 0.
func (e *ends) ends(t testing.TB, p *lab.Process, sig syscall.Signal) {
	t.Helper()
	if err := p.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("still running ten seconds after %v\n%s", sig, p.Log())
	}
	if err := p.Err(); err != nil || strings.Contains(p.Log(), "panic") {
		t.Errorf("%v: %v\n%s", sig, err, p.Log())
	}
}

// TestEndsBySignal: Ctrl-C and SIGTERM end the engine amid traffic, with a client that hangs on its socket, and if asked
// twice. Nothing of it is left, and the next one starts at once.
func TestEndsBySignal(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	pb := e.startB(t, ctx)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		pa := e.startA(t, ctx)
		traffic, err := e.insideB.Start("ping", "-q", "-i", "0.002", "10.1.0.1")
		if err != nil {
			t.Fatal(err)
		}
		hung, err := net.Dial("unix", e.sockA)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hung.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: ")); err != nil {
			t.Fatal(err)
		}
		err = lab.WaitFor(ctx, "traffic", func() error {
			var ts []struct {
				In uint64 `json:"in_packets"`
			}
			if e.ask(t, ctx, &ts, "tunnels"); len(ts) != 1 || ts[0].In < 50 {
				return fmt.Errorf("%+v", ts)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := pa.Signal(sig); err != nil {
			t.Error(err)
		}
		e.ends(t, pa, sig)
		_ = hung.Close()
		e.noDevice(t)
		if _, err := os.Lstat(e.sockA); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the control socket is still there: %v", sig, err)
		}
		if err := traffic.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	e.ends(t, pb, syscall.SIGINT)
}

// TestDemoEndsByCtrlC: the demo stops where it is and does not claim success.
func TestDemoEndsByCtrlC(t *testing.T) { fairly(t, demoEndsByCtrlC) }

func demoEndsByCtrlC(t testing.TB) {
	cmd := exec.CommandContext(limit(t), build(t), "demo")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has begun
		t.Fatal(err)
	}
	begun := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	rest := new(bytes.Buffer)
	_, _ = rest.ReadFrom(out)
	err = cmd.Wait()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	if took := time.Since(begun); took > 30*time.Second || strings.Contains(rest.String(), "all of it worked") || strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("took %v\n%s%s", took, rest, stderr.String())
	}
}

// TestClosedPipe: who reads only the first line gets it, and nobody gets a stack trace or waits.
func TestClosedPipe(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	p := e.startA(t, ctx)
	for _, command := range []string{"status", "status --json", "tunnels", "sas", "routes", "drops"} {
		out, err := exec.CommandContext(ctx, "sh", "-c", fmt.Sprintf("%s %s --socket %s | head -1", e.program, command, e.sockA)).CombinedOutput()
		if err != nil || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s | head -1: %v\n%s", command, err, out)
		}
	}
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"tunnels"}, {"sas"}, {"routes"}, {"drops"}, {"bgp"}, {"explain", "10.1.0.1", "10.2.0.1"},
		{"check", e.confA}, {"--help"},
	} {
		if args[0] != "check" && args[0] != "--help" {
			args = append(args, "--socket", e.sockA)
		}
		e.intoNothing(t, ctx, args)
	}
	e.ends(t, p, syscall.SIGTERM)
}

// intoNothing runs a command whose output nobody reads, as behind a `head` that has left. Success, or the end by SIGPIPE that
// every Unix program has.
func (e *ends) intoNothing(t testing.TB, ctx context.Context, args []string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = r.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, e.program, args...)
	cmd.Stdout, cmd.Stderr = w, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	bySignal := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGPIPE
	if err != nil && !bySignal || strings.Contains(stderr.String(), "goroutine ") {
		t.Errorf("warren %v: %v\n%s", args, err, stderr.String())
	}
}
