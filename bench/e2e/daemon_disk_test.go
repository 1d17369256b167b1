//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/bench/lab"
)

// disk is a small file system of its own.
type disk struct{ dir string }

func newDisk(t testing.TB, dir string) *disk {
	t.Helper()
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=32")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{dir}
}

// fillBytes leaves no room for a byte, fillFiles none for a file.
func (d *disk) fillBytes(t testing.TB) {
	t.Helper()
	err := os.WriteFile(filepath.Join(d.dir, "fill"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("disk is not full: %v", err)
	}
}

func (d *disk) fillFiles(t testing.TB) {
	t.Helper()
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(d.dir, fmt.Sprintf("fill%d", i)), nil, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			return
		}
		if err != nil || i > 100 {
			t.Fatalf("disk is not full: %v", err)
		}
	}
}

func (d *disk) free(t testing.TB) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, "fill*"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: where state file, control socket and log have no room, an engine does not start and says what it could not
// write; one that runs goes on, answers and ends as ever.
func TestFullDisk(t *testing.T) {
	e := newEnds(t)
	ctx := limit(t)
	d := newDisk(t, filepath.Join(e.state, "full"))
	edit(t, e.confA, filepath.Join(e.state, "a.iv"), filepath.Join(d.dir, "a.iv"))
	e.sockA = filepath.Join(d.dir, "a.sock")

	d.fillBytes(t)
	e.refused(t, ctx, filepath.Join(d.dir, "a.iv"))
	d.fillFiles(t)
	e.refused(t, ctx, "")
	d.free(t)

	edit(t, e.confA, "underlay:", "log: {level: debug}\nunderlay:")
	program := e.program
	e.program = filepath.Join(e.state, "logging") // its log is on the full disk too
	script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\" 2>>%s\n", program, filepath.Join(d.dir, "log"))
	if err := os.WriteFile(e.program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	pa := e.startA(t, ctx)
	e.program = program
	pb := e.startB(t, ctx)
	e.flows(t, ctx, pb)
	d.fillBytes(t)
	d.fillFiles(t)
	e.flows(t, ctx, pb)
	var s struct{ State string }
	if e.ask(t, ctx, &s, "status"); s.State != "running" {
		t.Errorf("engine is %s", s.State)
	}
	if err := pa.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-pa.Done()
	e.refused(t, ctx, "") // and not because of what the dead one left
	d.free(t)
	pa = e.startA(t, ctx)
	e.ends(t, pb, syscall.SIGTERM)
	pb = e.startB(t, ctx) // whose replay window is new
	e.flows(t, ctx, pa)
	d.fillBytes(t)
	d.fillFiles(t)
	e.ends(t, pa, syscall.SIGTERM)
	e.ends(t, pb, syscall.SIGTERM)
}

// flows: packets pass for longer than a tick of the engine's clock.
func (e *ends) flows(t testing.TB, ctx context.Context, p *lab.Process) {
	t.Helper()
	for _, dst := range []string{"10.2.0.1", "fd02::1"} {
		for range 8 {
			if r, err := e.insideA.Ping(ctx, dst, 1); err != nil || r.Received != 1 {
				t.Fatalf("%s: %+v %v\n%s", dst, r, err, p.Log())
			}
			time.Sleep(200 * time.Millisecond) // which is what is tested
		}
	}
}

// refused: the engine of a does not start, says once why, in words with the file's name, and leaves nothing.
func (e *ends) refused(t testing.TB, ctx context.Context, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := e.a.Command(ctx, e.program, "run", "--socket", e.sockA, e.confA).CombinedOutput()
	text := string(out)
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1\n%s", err, text)
	}
	if strings.Count(text, "no space left on device") != 1 || !strings.Contains(text, file) || strings.Contains(text, "goroutine ") {
		t.Errorf("want one error about %q and a full disk:\n%s", file, text)
	}
	e.noDevice(t)
	if file != "" {
		if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func (e *ends) noDevice(t testing.TB) {
	t.Helper()
	if err := e.insideA.IP("link", "show", "warren0"); err == nil {
		t.Error("the device is still there")
	}
}
