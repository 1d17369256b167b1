package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The control socket speaks HTTP with JSON bodies over a Unix socket, so that curl can talk to it as well as the program:
//
//	GET /v1/status           Status
//	GET /v1/routes?prefix=P  []RouteStatus
//	GET /v1/bgp              []NeighborStatus
//	POST /v1/tunnels/NAME/up, down, rekey   with ?child=C for one child
//	POST /v1/reload          reads the configuration again, and answers when it is applied
//	POST /v1/hand-over       leaves for another process; see takeover_control.go
//	POST /v1/forwards?listen=A&to=B[&protocol=P&vrf=V&max_connections=N&idle_timeout=T]  ForwardStatus, for as long as the request is open
//	POST /v1/captures?tunnel=NAME[&side=S&count=N&duration=T]  pcapng, until it ends; the header Warren-Capture has its number
//	DELETE /v1/captures/NUMBER  ends a capture
//	GET /v1/explain?source=A&destination=B[&vrf=V]  []Explanation
//
// Only the user who runs the engine may connect (mode 0600).

// ServeControl serves the control socket on a listener made by ListenControl, until ctx ends or the engine has handed over to another.
// It closes the listener.
func (e *Engine) ServeControl(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	control := &controlServer{stop: stop, closed: make(chan struct{}), captures: newCaptures()}
	srv := &http.Server{Handler: e.controlHandler(control), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		_ = ln.Close()
		close(control.closed)
		control.shutdown(srv)
	}()
	err := srv.Serve(ln)
	if ctx.Err() != nil {
		<-stopped
		control.handing.Wait()
		return nil
	}
	return fmt.Errorf("serve control socket: %w", err)
}

// controlServer is what requests that take longer want of the control socket.
type controlServer struct {
	// stop ends the service; closed is closed when there is no socket any more.
	stop   context.CancelFunc
	closed chan struct{}
	// handing counts those that have left HTTP.
	handing  sync.WaitGroup
	captures *captures
}

// How long answers may take when the service ends, and how long then who reads the end of a capture.
const (
	controlGrace = time.Second
	captureGrace = 5 * time.Second
)

// shutdown waits for answers to be read. Who has not done so in time is cut off.
func (c *controlServer) shutdown(srv *http.Server) {
	wait := func(d time.Duration) error {
		grace, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		return srv.Shutdown(grace)
	}
	err := wait(controlGrace)
	if err != nil && c.captures.any() {
		err = wait(captureGrace)
	}
	if err != nil {
		_ = srv.Close()
	}
	c.captures.wait() // they say how many packets are missing
}

func (e *Engine) controlHandler(c *controlServer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/hand-over", func(w http.ResponseWriter, r *http.Request) { e.controlHandOver(c, w, r) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, e.Status())
	})
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, r *http.Request) {
		var prefix netip.Prefix
		if p := r.URL.Query().Get("prefix"); p != "" {
			var err error
			if prefix, err = parsePrefixOrAddr(p); err != nil {
				writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
				return
			}
		}
		writeJSON(w, http.StatusOK, e.Routes(prefix))
	})
	mux.HandleFunc("GET /v1/bgp", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, e.Neighbors())
	})
	mux.HandleFunc("POST /v1/tunnels/{name}/{what}", func(w http.ResponseWriter, r *http.Request) {
		err := e.command(r.Context(), r.PathValue("what"), r.PathValue("name"), r.URL.Query().Get("child"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, struct{}{})
	})
	mux.HandleFunc("POST /v1/reload", e.controlReload)
	mux.HandleFunc("POST /v1/forwards", e.controlForward)
	mux.HandleFunc("POST /v1/captures", func(w http.ResponseWriter, r *http.Request) { e.controlCapture(c, w, r) })
	mux.HandleFunc("DELETE /v1/captures/{number}", c.endCapture)
	mux.HandleFunc("GET /v1/explain", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		all, err := e.explain(q.Get("vrf"), q.Get("source"), q.Get("destination"))
		if err != nil {
			writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, all)
	})
	return mux
}

type controlError struct {
	Error string `json:"error"`
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client went away: nothing to do about it
}

// parsePrefixOrAddr takes 10.0.0.0/8 and 10.0.0.1 alike.
func parsePrefixOrAddr(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", s)
	}
	return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
}

// Client asks a running engine through its control socket.
type Client struct {
	path string
	http http.Client
}

// ErrNotRunning says that nobody answers on the control socket.
var ErrNotRunning = errors.New("no engine answers")

// NewClient returns a client of the engine whose control socket is at path.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http.Timeout = 10 * time.Second
	c.http.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	return c
}

// Status asks for the engine's status.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.get(ctx, "/v1/status", s)
}

// Routes asks for the routes that cover prefix and those within it, or for all where prefix is "".
func (c *Client) Routes(ctx context.Context, prefix string) ([]RouteStatus, error) {
	var rs []RouteStatus
	return rs, c.get(ctx, "/v1/routes?prefix="+url.QueryEscape(prefix), &rs)
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, http.MethodGet, path, into)
}

func (c *Client) ask(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://warren"+path, nil)
	if err != nil {
		return fmt.Errorf("ask engine: %w", err)
	}
	resp, err := c.send(&c.http, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return c.explain(err)
	}
	return nil
}

// send sends a request. What the engine refuses is an error; otherwise the caller closes the body.
func (c *Client) send(through *http.Client, req *http.Request) (*http.Response, error) {
	resp, err := through.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

// explain says what it means that an engine could not be asked.
func (c *Client) explain(err error) error {
	var asked *url.Error
	if errors.As(err, &asked) { // what it was asked for is nothing to the user
		err = asked.Err
	}
	var op *net.OpError
	var network net.Error
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("control socket %s belongs to another user: %w", c.path, os.ErrPermission)
	case errors.As(err, &op) && op.Op == "dial":
		return nobodyOn(c.path, DefaultSocket(), rootSocket)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return fmt.Errorf("the engine on %s went away before it had answered: %w", c.path, err)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("the engine on %s has not answered within %v: %w", c.path, c.http.Timeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("ask engine on %s: %w", c.path, err)
}

// nobodyOn says that no engine answers on path. Whoever has named none, which is own, may mean root's.
func nobodyOn(path, own, roots string) error {
	if info, err := os.Stat(roots); path == own && own != roots && err == nil && info.Mode().Type() == os.ModeSocket {
		return fmt.Errorf("%w on %s; root's is asked on %s, by root alone (sudo warren ...)", ErrNotRunning, path, roots)
	}
	return fmt.Errorf("%w on %s: start one with `warren run FILE`, or name its socket with --socket", ErrNotRunning, path)
}

// refusal is what the engine said why not.
func refusal(resp *http.Response) error {
	var ce controlError
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if json.Unmarshal(b, &ce) == nil && ce.Error != "" {
		return errors.New(ce.Error)
	}
	return fmt.Errorf("ask engine: %s", resp.Status)
}

// rootSocket is where root's control socket is.
const rootSocket = "/run/warren/warren.sock"

// DefaultSocket is where the control socket is unless the configuration says otherwise: /run/warren/warren.sock for root,
// else warren.sock in the user's runtime folder.
func DefaultSocket() string {
	if os.Geteuid() == 0 {
		return rootSocket
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "warren.sock")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("warren-%d.sock", os.Geteuid()))
}

// Neighbors asks for the BGP neighbours.
func (c *Client) Neighbors(ctx context.Context) ([]NeighborStatus, error) {
	var ns []NeighborStatus
	return ns, c.get(ctx, "/v1/bgp", &ns)
}

// Explain asks which way a packet would go; vrf "" for all of them.
func (c *Client) Explain(ctx context.Context, vrf, source, destination string) ([]Explanation, error) {
	var es []Explanation
	q := url.Values{"vrf": {vrf}, "source": {source}, "destination": {destination}}
	return es, c.get(ctx, "/v1/explain?"+q.Encode(), &es)
}

// Tunnel brings a tunnel up or down, or rekeys it; what is "up", "down" or "rekey". With a child's name that child alone.
func (c *Client) Tunnel(ctx context.Context, what, tunnel, child string) error {
	path := "/v1/tunnels/" + url.PathEscape(tunnel) + "/" + url.PathEscape(what) + "?child=" + url.QueryEscape(child)
	return c.ask(ctx, http.MethodPost, path, new(struct{}))
}
