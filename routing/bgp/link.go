package bgp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/routing/bgp/message"
)

const (
	// readSize is how much is read at once: some thousand prefixes. It must hold a message.
	readSize = 64 << 10
	// writeSize is about how much is written at once; a KEEPALIVE waits for no more than that.
	writeSize = 32 << 10
	// linger is how long a connection is given for its last words.
	linger = time.Second
)

// A link is a transport connection with the two goroutines that read and write it. Neither is ever waited for: what a peer
// has to send is put down here, and what arrives comes to it by a channel.
type link struct {
	id    ConnID
	conn  net.Conn
	clock *clock

	// heard is when octets came last; blocked is since when a write has been waiting, 0 for not. Both in the clock's time.
	heard, blocked atomic.Int64
	counters       *counters
	buffers        *sync.Pool // of *[readSize]byte

	wake    chan struct{} // something to write, or to end for
	dropped chan struct{} // closed when the session wants nothing more from it
	ended   chan struct{} // closed when nothing is read any more

	mu      sync.Mutex
	control []byte // whole messages that go before all UPDATEs
	out     *adjOut
	closing bool
	failure error // of the writer
}

// chunk is what a link has read: whole messages, or an error with which it ended.
type chunk struct {
	link *link
	data []byte
	buf  *[readSize]byte
	err  error
}

// clock gives times as numbers that fit an atomic, and are not 0.
type clock struct{ base time.Time }

func newClock() *clock                   { return &clock{time.Now().Add(-1)} }
func (c *clock) now() int64              { return int64(time.Since(c.base)) }
func (c *clock) time(at int64) time.Time { return c.base.Add(time.Duration(at)) }

func newLink(id ConnID, conn net.Conn, c *clock, n *counters, b *sync.Pool) *link {
	l := &link{id: id, conn: conn, clock: c, counters: n, buffers: b,
		wake: make(chan struct{}, 1), dropped: make(chan struct{}), ended: make(chan struct{})}
	l.heard.Store(c.now())
	return l
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send puts a message before all that is not written yet, behind other control messages.
func (l *link) send(msg []byte) {
	l.mu.Lock()
	l.control = append(l.control, msg...)
	l.mu.Unlock()
	l.poke()
}

// attach makes the link carry what a session has to announce.
func (l *link) attach(o *adjOut) {
	l.mu.Lock()
	l.out = o
	l.mu.Unlock()
	l.poke()
}

// drop ends the link, after control messages that wait.
func (l *link) drop() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	close(l.dropped)
	// What a neighbour does not take in this time it does not get.
	_ = l.conn.SetWriteDeadline(time.Now().Add(linger))
	l.poke()
}

// read reads until the connection ends, and gives whole messages to into.
func (l *link) read(into chan<- chunk) {
	defer close(l.ended)
	buf := l.buffers.Get().(*[readSize]byte)
	have, whole := 0, 0
	for {
		n, err := l.conn.Read(buf[have:])
		l.heard.Store(l.clock.now())
		l.counters.octetsIn.Add(uint64(n))
		have += n
		whole = wholeMessages(buf[:have], whole)
		if whole > 0 {
			next := l.buffers.Get().(*[readSize]byte)
			rest := copy(next[:], buf[whole:have])
			if !l.give(into, chunk{link: l, data: buf[:whole], buf: buf}) {
				l.discard()
				return
			}
			buf, have, whole = next, rest, wholeMessages(next[:rest], 0)
		}
		if err != nil {
			l.give(into, chunk{link: l, err: l.reason(err)})
			return
		}
	}
}

func (l *link) give(into chan<- chunk, c chunk) bool {
	select {
	case into <- c:
		return true
	case <-l.dropped:
		return false
	}
}

// discard reads on so that the neighbour can read our last words: with octets unread TCP would reset instead.
func (l *link) discard() {
	buf := l.buffers.Get().(*[readSize]byte)
	defer l.buffers.Put(buf)
	for {
		if _, err := l.conn.Read(buf[:]); err != nil {
			return
		}
	}
}

// wholeMessages is how many octets of b are whole messages, of which from are known already. A header that cannot be read
// ends them: it is for the machine to say what is wrong with it.
func wholeMessages(b []byte, from int) int {
	for len(b)-from >= message.HeaderLength {
		n, _, err := message.Length(b[from:])
		if err != nil {
			return len(b)
		}
		if len(b)-from < n {
			break
		}
		from += n
	}
	return from
}

// split cuts the first message off whole messages.
func split(b []byte) (msg, rest []byte) {
	n, _, err := message.Length(b)
	if err != nil {
		return b, nil
	}
	return b[:n], b[n:]
}

// write writes until the link is dropped or cannot be written, and closes the connection.
func (l *link) write() {
	defer l.conn.Close()
	buf := make([]byte, 0, writeSize+2*message.MaxLength)
	for {
		var closing bool
		if buf, closing = l.take(buf[:0]); len(buf) > 0 {
			l.blocked.Store(l.clock.now())
			n, err := l.conn.Write(buf)
			l.blocked.Store(0)
			l.counters.octetsOut.Add(uint64(n))
			if err != nil {
				l.fail(err)
				l.readOn()
				return // and closes, so that the reader ends too, and says so
			}
			continue
		}
		if closing {
			l.lastWords()
			return
		}
		<-l.wake
	}
}

func (l *link) fail(err error) {
	l.mu.Lock()
	l.failure = err
	l.mu.Unlock()
}

// readOn gives the reader a moment when nothing can be written any more: the neighbour may have said why before it closed. With
// a NOTIFICATION its routes are not kept.
func (l *link) readOn() {
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-l.ended:
	case <-l.dropped:
	case <-t.C:
	}
}

// reason is why the link ended: what the writer saw comes first.
func (l *link) reason(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return l.failure
	}
	return err
}

// take collects what is to be written next.
func (l *link) take(buf []byte) (_ []byte, closing bool) {
	l.mu.Lock()
	buf, l.control = append(buf, l.control...), l.control[:0]
	out, closing := l.out, l.closing
	l.mu.Unlock()
	if out != nil && !closing {
		buf = out.take(buf, writeSize)
	}
	l.counters.countOut(buf)
	return buf, closing
}

// lastWords waits until the neighbour has closed too, for a moment.
func (l *link) lastWords() {
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	t := time.NewTimer(linger)
	defer t.Stop()
	select {
	case <-l.ended:
	case <-t.C:
	}
}

// addrOf is the address of one end of a connection, invalid where it has none.
func addrOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// counters of a neighbour since its start.
type counters struct {
	octetsIn, octetsOut     atomic.Uint64
	messagesIn, messagesOut atomic.Uint64
	updatesIn, updatesOut   atomic.Uint64
	withdrawnAs, looped     atomic.Uint64
}

func (c *counters) countOut(b []byte) {
	messages, updates := uint64(0), uint64(0)
	for len(b) >= message.HeaderLength {
		messages++
		if message.Type(b[18]) == message.TypeUpdate {
			updates++
		}
		b = b[binary.BigEndian.Uint16(b[16:]):]
	}
	if messages > 0 {
		c.messagesOut.Add(messages)
		c.updatesOut.Add(updates)
	}
}
