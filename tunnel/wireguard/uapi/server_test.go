package uapi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/until"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOperationsOnOneConnection(t *testing.T) {
	m := &memory{}
	s, r := serve(t, shortDir(t), "wg0", m)
	c := dial(t, s)
	// All at once, as a client may that does not wait; the requests that are wrong change nothing, and the next ones stand.
	c.send("set=1\nlisten_port=5\n\n" + "set=1\nlisten_port=6\nfwmark=x\nlisten_port=7\n\n" + "get=1\n\n" + "get=1\nlisten_port=8\n\n" +
		"get=2\nanything\n\n" + "\n" + "set=1\nfwmark=9\n\n" + "get=1\n\n")
	for i, want := range []string{"errno=0\n", "errno=-22\n", "listen_port=5\nerrno=0\n", "errno=22\n", "errno=-71\n", "errno=0\n",
		"listen_port=5\nfwmark=9\nerrno=0\n"} {
		if got := c.answer(); got != want {
			t.Errorf("answer %d: %q, want %q", i, got, want)
		}
	}
	for _, want := range []string{"line 3 of the request: fwmark", "\"get\" with more lines", "no such operation"} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("reported: %s; want %q in it", r, want)
		}
	}
	if len(m.sets) != 2 {
		t.Errorf("%d changes reached the device, want 2", len(m.sets))
	}
}

func TestErrnoOfDevice(t *testing.T) {
	m := &memory{}
	s, _ := serve(t, shortDir(t), "wg0", m)
	c := dial(t, s)
	for _, test := range []struct {
		err      error
		get, set string
	}{
		{fmt.Errorf("bind: %w", syscall.EADDRINUSE), "errno=98\n", "errno=-98\n"},
		{errors.New("anything"), "errno=5\n", "errno=-5\n"},
		{fmt.Errorf("of the device: %w", io.EOF), "errno=5\n", "errno=-5\n"},
		{fmt.Errorf("of the device: %w", net.ErrClosed), "errno=5\n", "errno=-5\n"},
	} {
		m.fail(test.err)
		c.send("get=1\n\nset=1\n\n")
		if got := c.answer(); got != test.get {
			t.Errorf("get, %v: %q", test.err, got)
		}
		if got := c.answer(); got != test.set {
			t.Errorf("set, %v: %q", test.err, got)
		}
	}
}

func TestTooLargeEndsTheConnection(t *testing.T) {
	s, r := serve(t, shortDir(t), "wg0", &memory{})
	c := dial(t, s)
	c.send("set=1\n" + strings.Repeat("x", maxLine+1) + "\n")
	if got, err := io.ReadAll(c.r); string(got) != "errno=-90\n\n" {
		t.Errorf("answer %q, %v", got, err)
	}
	if !strings.Contains(r.String(), "more than a request may have") {
		t.Errorf("reported: %s", r)
	}
}

func TestTooManyConnections(t *testing.T) {
	s, _ := serve(t, shortDir(t), "wg0", &memory{})
	var all []*client
	for range maxConns {
		c := dial(t, s)
		c.send("get=1\n\n")
		c.answer()
		all = append(all, c)
	}
	if got, err := io.ReadAll(dial(t, s).r); len(got) != 0 || err != nil {
		t.Errorf("a connection too many: %q, %v; want it closed", got, err)
	}
	_ = all[0].c.Close()
	for deadline := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		c := dial(t, s)
		_, _ = io.WriteString(c.c, "get=1\n\n")
		if line, err := c.r.ReadString('\n'); err == nil && line == "errno=0\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that became free is not given away")
		}
	}
}

func TestOneCallAtATime(t *testing.T) {
	d := &exclusive{}
	s, _ := serve(t, shortDir(t), "wg0", d)
	var wg sync.WaitGroup
	for range 8 {
		c := dial(t, s)
		wg.Go(func() {
			for range 50 {
				if _, err := io.WriteString(c.c, "get=1\n\nset=1\n\n"); err != nil {
					t.Error(err)
				}
				for range 4 {
					if _, err := c.r.ReadString('\n'); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if d.calls != 8*50*2 {
		t.Errorf("%d calls", d.calls)
	}
}

// exclusive has no lock: the race detector finds calls that overlap.
type exclusive struct{ calls int }

func (d *exclusive) Get() (State, error) { d.calls++; return State{}, nil }
func (d *exclusive) Set(Change) error    { d.calls++; return nil }

func TestSocketFile(t *testing.T) {
	dir := filepath.Join(shortDir(t), "new")
	s, _ := serve(t, dir, "wg0", &memory{})
	info, err := os.Lstat(s.Path())
	if err != nil || info.Mode() != os.ModeSocket|0o600 || s.Path() != filepath.Join(dir, "wg0.sock") {
		t.Fatalf("%s has the mode %v, %v", s.Path(), info.Mode(), err)
	}
	if _, err := Listen("wg0", &memory{}, Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one: %v, want ErrInUse", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the file is there: %v", err)
	}

	// One that its owner left behind is replaced, and a file that is none is not.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.Path(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	again, _ := serve(t, dir, "wg0", &memory{})
	c := dial(t, again)
	c.send("get=1\n\n")
	if got := c.answer(); got != "errno=0\n" {
		t.Errorf("in place of a stale socket: %q", got)
	}
	plain := filepath.Join(dir, "plain.sock")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("plain", &memory{}, Options{Dir: dir}); !errors.Is(err, ErrNotSocket) {
		t.Errorf("in place of a file: %v, want ErrNotSocket", err)
	}
	if b, err := os.ReadFile(plain); string(b) != "x" {
		t.Errorf("the file was touched: %v", err)
	}
}

func TestModeWithAnyUmask(t *testing.T) {
	for _, mask := range []int{0, 0o777} {
		dir := shortDir(t)
		old := syscall.Umask(mask)
		s, err := Listen("wg0", &memory{}, Options{Dir: dir})
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(s.Path()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("with the umask %o: mode %v, %v", mask, info.Mode(), err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The file never has a wider mode, not even before the mode is set by name.
func TestModeFromTheBeginning(t *testing.T) {
	dir := shortDir(t)
	old := syscall.Umask(0)
	s := &socket{path: filepath.Join(dir, "wg0.sock")}
	err := s.bind()
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.listener.Close() }()
	if info, err := os.Lstat(s.path); err != nil || info.Mode().Perm() != mode {
		t.Errorf("bound with the mode %v, %v", info.Mode(), err)
	}
}

// A socket whose owner is too busy to accept is in use all the same.
func TestBusySocketIsInUse(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, "wg0.sock")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	if _, err := Listen("wg0", &memory{}, Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
}

func TestNames(t *testing.T) {
	dir := shortDir(t)
	for _, name := range []string{"", ".", "..", "a/b", "../x", "sixteen-letters-", "a b", "a\x00", "é"} {
		if _, err := Listen(name, &memory{}, Options{Dir: dir}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
	}
	if _, err := Listen("wg0", &memory{}, Options{Dir: filepath.Join(dir, strings.Repeat("d", 110))}); err == nil || !strings.Contains(err.Error(), "longer than the 107 octets") {
		t.Errorf("a long path: %v", err)
	}
}

// By the protocol, deleting the file ends the server; so does moving it, or putting another one in its place.
func TestDeletedFileEnds(t *testing.T) {
	for _, how := range []func(path string) error{
		os.Remove,
		func(path string) error { return os.Rename(path, path+".old") },
		func(path string) error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		s, err := Listen("wg0", &memory{}, Options{Dir: shortDir(t)})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- s.Serve() }()
		c := dial(t, s)
		c.send("get=1\n\n")
		c.answer()
		if err := os.Chmod(s.Path(), 0o660); err != nil { // an event that is no end
			t.Fatal(err)
		}
		c.send("get=1\n\n")
		c.answer()
		if err := how(s.Path()); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-served:
			if !errors.Is(err, ErrRemoved) {
				t.Errorf("serve: %v, want ErrRemoved", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a server without a file goes on")
		}
		if _, err := io.ReadAll(c.r); err != nil {
			t.Errorf("the connection: %v", err)
		}
		if info, err := os.Lstat(s.Path()); err == nil && !info.Mode().IsRegular() {
			t.Error("the socket is there")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Close lets the Device finish, and ends clients that sit there.
func TestCloseWaits(t *testing.T) {
	d := &slow{entered: make(chan struct{}), leave: make(chan struct{})}
	s, _ := serve(t, shortDir(t), "wg0", d)
	idle := dial(t, s)
	half := dial(t, s)
	half.send("set=1\nfwmark")
	c := dial(t, s)
	c.send("set=1\n\n")
	<-d.entered
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for _, other := range []*client{idle, half} {
		if _, err := io.ReadAll(other.r); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("another connection: %v", err)
		}
	}
	until.True(t, "Close waits for the Device", 30*time.Second, func() bool {
		select {
		case <-closed:
			t.Fatal("Close does not wait for the Device")
		default:
		}
		return until.Waits("uapi.(*Server).Close", "sync.WaitGroup.Wait")
	})
	close(d.leave)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

type slow struct {
	memory
	entered, leave chan struct{}
}

func (d *slow) Set(Change) error {
	close(d.entered)
	<-d.leave
	return nil
}

// Several that start at once for one name: one gets it.
func TestListenAtOnce(t *testing.T) {
	dir := shortDir(t)
	for range 20 {
		var mu sync.Mutex
		var won []*Server
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				s, err := Listen("wg0", &memory{}, Options{Dir: dir})
				switch {
				case err == nil:
					mu.Lock()
					won = append(won, s)
					mu.Unlock()
				case !errors.Is(err, ErrInUse):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d have the socket", len(won))
		}
		if err := won[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
}
