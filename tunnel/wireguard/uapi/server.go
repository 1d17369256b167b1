package uapi

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// maxConns is how many connections are served at once; wg(8) needs one.
	maxConns = 32
	// patience is how long a request that has begun may take to arrive, and an answer to be taken.
	patience = 30 * time.Second
)

// ErrRemoved is Serve's error when the socket's file was deleted: by the protocol, a request to end.
var ErrRemoved = errors.New("the UAPI socket was removed")

// Options are a Server's settings; the zero Options are good.
type Options struct {
	// Dir is where the socket stands; "" for DefaultDir, the only one where wg(8) looks.
	Dir string
	// Report takes what a client did wrong or a Device refused; nil to drop it. It is called from several goroutines.
	Report func(error)
}

// Server answers on the socket of one interface.
type Server struct {
	device  Device
	report  func(error)
	socket  *socket
	oneCall sync.Mutex // held while the Device is called

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	ending chan struct{} // closed with closed
	done   sync.WaitGroup
}

// Listen makes the socket DIR/NAME.sock, for its owner only. A socket of the name that nobody listens on is replaced; one that is
// in use is an error that wraps ErrInUse. Serve serves it.
func Listen(name string, device Device, o Options) (*Server, error) {
	s := &Server{device: device, report: o.Report, conns: map[net.Conn]struct{}{}, ending: make(chan struct{})}
	if s.report == nil {
		s.report = func(error) {}
	}
	dir := o.Dir
	if dir == "" {
		dir = DefaultDir
	}
	var err error
	if s.socket, err = listen(dir, name); err != nil {
		return nil, fmt.Errorf("make the UAPI socket of %q: %w", name, err)
	}
	return s, nil
}

// Path is the socket's file.
func (s *Server) Path() string { return s.socket.path }

// Serve serves until Close, and returns nil then; or ErrRemoved when the file is deleted, or why no connection can be accepted.
// However it ends, the Server is closed.
func (s *Server) Serve() error {
	removed := make(chan bool, 1)
	go func() { removed <- s.socket.watch() }()
	err := s.accept()
	s.mu.Lock()
	asked := s.closed
	s.mu.Unlock()
	closeErr := s.Close()
	if <-removed && !asked {
		return ErrRemoved
	}
	if asked {
		return nil
	}
	return errors.Join(err, closeErr)
}

func (s *Server) accept() error {
	for {
		c, err := s.socket.listener.Accept()
		if errors.Is(err, syscall.ECONNABORTED) {
			continue
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			s.report(fmt.Errorf("accept on the UAPI socket: %w", err))
			select {
			case <-s.ending:
			case <-time.After(time.Second): // files may be closed by then
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("accept on the UAPI socket: %w", err)
		}
		s.mu.Lock()
		refused := s.closed || len(s.conns) >= maxConns
		if !refused {
			s.conns[c] = struct{}{}
			s.done.Add(1)
		}
		s.mu.Unlock()
		if refused {
			s.report(fmt.Errorf("a connection beyond the %d that are served at once is refused", maxConns))
			_ = c.Close()
			continue
		}
		go s.handle(c)
	}
}

// Close removes the socket, ends all connections and waits for what the Device is doing. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	var err error
	if !already {
		close(s.ending)
		err = s.socket.close()
	}
	s.done.Wait()
	return err
}

func (s *Server) handle(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.done.Done()
	}()
	r := bufio.NewReaderSize(c, 16<<10)
	for {
		_ = c.SetDeadline(time.Time{})
		if _, err := r.Peek(1); err != nil {
			return // between requests, a client leaves when it likes
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		answer, again, err := s.operation(&lines{r: r})
		if err != nil && !errors.Is(err, net.ErrClosed) {
			s.report(err)
		}
		_ = c.SetWriteDeadline(time.Now().Add(patience)) // a Device may have taken its time
		if _, err := c.Write(answer); err != nil || !again {
			return
		}
	}
}

// operation reads one request and returns its answer, and whether the connection is good for another.
//
// The sign of errno is what wg(8) understands: it takes the number of a "get" for positive and calls a negative one a protocol
// error, and that of a "set" for negative, as wireguard-go has it.
func (s *Server) operation(l *lines) (answer []byte, again bool, err error) {
	sign := -1
	op, err := l.next()
	switch {
	case err != nil:
	case op == "":
		return nil, true, nil
	case op == "get=1":
		sign = 1
		answer, err = s.get(l)
	case op == "set=1":
		err = s.set(l)
	default:
		if _, err = l.drain(); err == nil {
			err = &RequestError{Errno: syscall.EPROTO, Line: 1, Problem: "no such operation", Want: "get=1 or set=1"}
		}
	}
	if ended := (*connError)(nil); errors.As(err, &ended) {
		return nil, false, fmt.Errorf("read a UAPI request: %w", err)
	}
	return fmt.Appendf(answer, "errno=%d\n\n", sign*int(errno(err))), !errors.Is(err, errTooLarge), err
}

// errno is the number that answers for err, 0 for none.
func errno(err error) syscall.Errno {
	var n syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &n) && n > 0:
		return n
	}
	return syscall.EIO
}

func (s *Server) get(l *lines) ([]byte, error) {
	extra, err := l.drain()
	if err != nil {
		return nil, err
	}
	if extra > 0 {
		return nil, &RequestError{Errno: syscall.EINVAL, Line: 2, Problem: "a \"get\" with more lines", Want: "an empty line"}
	}
	s.oneCall.Lock()
	defer s.oneCall.Unlock()
	state, err := s.device.Get()
	if err != nil {
		return nil, fmt.Errorf("get the interface's state: %w", err)
	}
	return state.append(nil), nil
}

func (s *Server) set(l *lines) error {
	c, err := readChange(l)
	if err != nil {
		return err
	}
	s.oneCall.Lock()
	defer s.oneCall.Unlock()
	if err := s.device.Set(c); err != nil {
		return fmt.Errorf("change the interface: %w", err)
	}
	return nil
}
