package uapi

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a Device that is nothing but its State.
type memory struct {
	mu     sync.Mutex
	state  State
	refuse error
	sets   []Change
}

func (m *memory) Get() (State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.refuse
}

func (m *memory) Set(c Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets = append(m.sets, c)
	if m.refuse == nil {
		m.state = m.state.Apply(c)
	}
	return m.refuse
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// reports collects what a Server reports.
type reports struct {
	mu  sync.Mutex
	all []string
}

func (r *reports) add(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, err.Error())
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

// serve runs a Server until the test ends, and wants it to end well.
func serve(t *testing.T, dir, name string, d Device) (*Server, *reports) {
	t.Helper()
	r := &reports{}
	s, err := Listen(name, d, Options{Dir: dir, Report: r.add})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, r
}

// shortDir is a directory whose name a socket's path can have in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "uapi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// client is a connection with a deadline for the whole test.
type client struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	c, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.c, text); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads through an empty line and returns what stood before it.
func (c *client) answer() string {
	c.t.Helper()
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", b.String(), err)
		}
		if line == "\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

// wgTool runs the real program on one interface; without it a privileged run fails, since then nothing but we read what we wrote.
type wgTool struct {
	t    *testing.T
	path string
	name string
	dir  string
}

func newWg(t *testing.T, d Device) (*wgTool, *Server, *reports) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: wg looks for sockets in " + DefaultDir)
	}
	path, err := exec.LookPath("wg")
	if err != nil {
		t.Fatal("wg of wireguard-tools is missing")
	}
	w := &wgTool{t: t, path: path, name: fmt.Sprintf("wu%x", time.Now().UnixNano()&0xfffffffffff), dir: t.TempDir()}
	s, r := serve(t, "", w.name, d)
	return w, s, r
}

func (w *wgTool) try(args ...string) (string, error) {
	out, err := exec.CommandContext(w.t.Context(), w.path, args...).CombinedOutput()
	return string(out), err
}

func (w *wgTool) run(args ...string) string {
	w.t.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.t.Fatalf("wg %v: %v\n%s", args, err, out)
	}
	return out
}

// file makes a file and returns its path.
func (w *wgTool) file(name, text string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// base64Of is a key as wg(8) prints it.
func base64Of(k [32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }

func filled(b byte) (k [32]byte) {
	for i := range k {
		k[i] = b
	}
	return k
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
