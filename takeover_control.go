package warren

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/routing/route"
)

// A hand-over through the control socket is an upgrade of HTTP (RFC 9110 section 7.8). The engine that runs says what it leaves, in
// gob: a legacyHeader, then legacyChunks to an empty one. The one that comes answers with one octet when it is ready. Then the engine
// leaves, sends the descriptors of each device of the header (unix(7), SCM_RIGHTS), up to maxDescriptors of them with one octet, and
// one octet more when all is free.
const (
	handOverProtocol = "warren-hand-over"
	// handOverVersion changes when an older program would misunderstand.
	handOverVersion = 1
	handOverOctet   = '+'
	// handOverPatience bounds each side's wait for the other.
	handOverPatience = time.Minute
	// maxDescriptors is what one message of Linux can carry (SCM_MAX_FD).
	maxDescriptors = 253
	// pathsPerChunk bounds what is decoded at once.
	pathsPerChunk = 4096
)

type legacyHeader struct {
	Version int
	Devices []legacyDevice
	// Up are the names of tunnels that packets were routed into.
	Up []string
}

type legacyDevice struct {
	NetNS, Name string
	Queues      int
}

// legacyChunk are paths of one neighbour. Attributes are named by their place in Attrs, counted from 1.
type legacyChunk struct {
	VRF, Neighbor string
	Peer          route.Peer
	Attrs         []*route.Attrs
	Paths         []chunkPath
}

type chunkPath struct {
	Prefix             netip.Prefix
	Attrs              int
	Preference, Metric uint32
	Weight             uint16
}

// controlHandOver hands over to who asks.
func (e *Engine) controlHandOver(c *controlServer, w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != handOverProtocol {
		writeJSON(w, http.StatusUpgradeRequired, controlError{"a hand-over wants Upgrade: " + handOverProtocol})
		return
	}
	e.mu.Lock()
	up := e.site != nil
	e.mu.Unlock()
	if !up {
		writeJSON(w, http.StatusServiceUnavailable, controlError{ErrNotUp.Error()})
		return
	}
	c.handing.Add(1)
	defer c.handing.Done()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, controlError{err.Error()})
		return
	}
	defer conn.Close()
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return
	}
	if err := e.handOverTo(c, unixConn); err != nil {
		e.log.Error("not handed over", "error", err)
	}
}

func (e *Engine) handOverTo(c *controlServer, conn *net.UnixConn) error {
	_ = conn.SetDeadline(time.Now().Add(handOverPatience))
	_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+handOverProtocol+"\r\n\r\n")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverPatience)
	defer cancel()
	var header legacyHeader
	l, err := e.handOver(ctx, func(l *Legacy) (err error) {
		if header, err = l.send(conn); err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		_ = conn.SetDeadline(time.Now().Add(handOverPatience))
		return err
	})
	if err != nil {
		return err
	}
	defer l.Close()
	c.stop()
	<-c.closed
	return l.sendDevices(conn, &header)
}

// sendDevices hands over what the header has announced, and says that all is free.
func (l *Legacy) sendDevices(conn *net.UnixConn, header *legacyHeader) error {
	for _, d := range header.Devices {
		for some := range slices.Chunk(l.devices[deviceKey{d.NetNS, d.Name}], maxDescriptors) {
			if _, _, err := conn.WriteMsgUnix([]byte{handOverOctet}, unix.UnixRights(some...), nil); err != nil {
				return fmt.Errorf("hand over device %q: %w", d.Name, err)
			}
		}
	}
	_, err := conn.Write([]byte{handOverOctet})
	return err
}

// send says what is left, but for the descriptors.
func (l *Legacy) send(conn io.Writer) (header legacyHeader, err error) {
	header.Version = handOverVersion
	for key, queues := range l.devices {
		header.Devices = append(header.Devices, legacyDevice{key.netns, key.name, len(queues)})
	}
	for name, up := range l.up {
		if up {
			header.Up = append(header.Up, name)
		}
	}
	out := bufio.NewWriterSize(conn, 1<<16)
	enc := gob.NewEncoder(out)
	if err := enc.Encode(&header); err != nil {
		return header, err
	}
	for key, n := range l.neighbors {
		for rest := n.paths; len(rest) > 0; {
			piece := rest[:min(len(rest), pathsPerChunk)]
			rest = rest[len(piece):]
			if err := enc.Encode(chunkOf(key, &n.peer, piece)); err != nil {
				return header, err
			}
		}
	}
	if err := enc.Encode(&legacyChunk{}); err != nil {
		return header, err
	}
	return header, out.Flush()
}

func chunkOf(key [2]string, peer *route.Peer, paths []legacyPath) *legacyChunk {
	c := &legacyChunk{VRF: key[0], Neighbor: key[1], Peer: *peer, Paths: make([]chunkPath, len(paths))}
	known := map[*route.Attrs]int{}
	for i := range paths {
		p := &paths[i]
		at := known[p.attrs]
		if at == 0 && p.attrs != nil {
			c.Attrs = append(c.Attrs, p.attrs)
			at = len(c.Attrs)
			known[p.attrs] = at
		}
		c.Paths[i] = chunkPath{p.prefix, at, p.preference, p.metric, p.weight}
	}
	return c
}

// TakeOver has the engine hand over to this process, and returns what Engine.Inherit wants when the other has closed all its sockets.
// The new engine is made before, so that a mistake in its configuration stops nothing. With an error that is found before it leaves
// the other goes on; ErrNotRunning says that there is none.
func (c *Client) TakeOver(ctx context.Context) (*Legacy, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://warren/v1/hand-over", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", handOverProtocol)
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.path)
	if err != nil {
		return nil, c.explain(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	_ = conn.SetDeadline(time.Now().Add(handOverPatience))
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
	case http.StatusNotFound:
		return nil, errors.New("the engine that runs is of a version that cannot hand over: end it, and start another")
	default:
		return nil, refusal(resp)
	}
	l, err := receiveLegacy(in, conn.(*net.UnixConn))
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	return l, nil
}

// receiveLegacy is the other side of handOverTo.
func receiveLegacy(in *bufio.Reader, conn *net.UnixConn) (*Legacy, error) {
	l := newLegacy()
	dec := gob.NewDecoder(in)
	var header legacyHeader
	if err := dec.Decode(&header); err != nil {
		return nil, err
	}
	if header.Version != handOverVersion {
		return nil, fmt.Errorf("the engine that runs hands over by version %d of the protocol, this is %d: end it, and start this one", header.Version, handOverVersion)
	}
	for _, name := range header.Up {
		l.up[name] = true
	}
	for {
		var c legacyChunk
		if err := dec.Decode(&c); err != nil {
			return nil, err
		}
		if len(c.Paths) == 0 {
			break
		}
		if err := l.addChunk(&c); err != nil {
			return nil, err
		}
	}
	if _, err := conn.Write([]byte{handOverOctet}); err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(handOverPatience))
	for _, d := range header.Devices {
		queues, err := receiveQueues(conn, d.Queues)
		l.devices[deviceKey{d.NetNS, d.Name}] = queues
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("device %q: %w", d.Name, err)
		}
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		l.Close()
		return nil, fmt.Errorf("the engine did not end in order: %w", err)
	}
	return l, nil
}

func (l *Legacy) addChunk(c *legacyChunk) error {
	n := l.neighbor(c.VRF, c.Neighbor, &c.Peer)
	for _, p := range c.Paths {
		path := legacyPath{prefix: p.Prefix, preference: p.Preference, metric: p.Metric, weight: p.Weight}
		if p.Attrs < 1 || p.Attrs > len(c.Attrs) || !p.Prefix.IsValid() {
			return fmt.Errorf("a path to %v with attributes number %d of %d", p.Prefix, p.Attrs, len(c.Attrs))
		}
		path.attrs = c.Attrs[p.Attrs-1]
		n.paths = append(n.paths, path)
	}
	return nil
}

// receiveQueues receives a device's descriptors, in as many messages as it takes. They are the caller's with an error too.
func receiveQueues(conn *net.UnixConn, want int) (queues []int, err error) {
	for len(queues) < want {
		some, err := receiveDescriptors(conn)
		queues = append(queues, some...)
		if err != nil || len(some) == 0 {
			return queues, errors.Join(fmt.Errorf("%d queues, want %d", len(queues), want), err)
		}
	}
	if len(queues) > want {
		return queues, fmt.Errorf("%d queues, want %d", len(queues), want)
	}
	return queues, nil
}

// receiveDescriptors reads one octet and what comes with it.
func receiveDescriptors(conn *net.UnixConn) (fds []int, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, oobn, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for i := range messages {
		some, failed := unix.ParseUnixRights(&messages[i])
		fds, err = append(fds, some...), errors.Join(err, failed)
	}
	return fds, err
}
