package capture

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenvpn/warren/dataplane/packet"
)

// What Options leaves at zero.
const (
	DefaultSnapLen   = packet.MaxSize
	DefaultRingBytes = 1 << 20
)

// Options say how much to capture. The zero Options capture whole packets.
type Options struct {
	// SnapLen is how many bytes of each packet are kept, without the outer headers that a frame gets.
	SnapLen int
	// RingBytes is how much each tapped reader, writer, receiver and sender holds until it is written; it is rounded up
	// to a power of two, and to what two packets of SnapLen take.
	RingBytes int
	// Count ends the capture by itself when so many packets are written; 0 is never.
	Count uint64
	// Now is the clock, time.Now if nil. It is read once a batch.
	Now func() time.Time
}

// Stats count copies.
type Stats struct {
	// Captured were or will be written, unless the capture ended with an error.
	Captured uint64
	// Dropped found no room.
	Dropped uint64
	// Written are those in the file by now.
	Written uint64
}

// Writer writes what its taps copy. It owns one goroutine, from NewWriter to Close.
type Writer struct {
	opts  Options
	file  *file
	start time.Time
	live  atomic.Bool // taps copy as long as it is set
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once

	written atomic.Uint64

	// The goroutine's own.
	described int            // how many interfaces are in the file
	latest    int64          // the time of the last packet in the file
	header    [maxOuter]byte // of the frame in hand

	mu     sync.Mutex
	ifaces []iface
	rings  []*ring
	err    error
}

// iface is one interface of the file.
type iface struct {
	name, description string
	outers            *outers // nil for clear packets
}

// ErrClosed is what Err returns after a capture that ended well.
var ErrClosed = errors.New("capture closed")

// NewWriter starts a capture to w, which is used by one goroutine and not closed. The file begins with the first tap.
func NewWriter(w io.Writer, opts Options) *Writer {
	if opts.SnapLen <= 0 {
		opts.SnapLen = DefaultSnapLen
	}
	if opts.RingBytes <= 0 {
		opts.RingBytes = DefaultRingBytes
	}
	least := 2 * (opts.SnapLen + recordHeader + 8)
	opts.RingBytes = 1 << bits.Len(uint(max(opts.RingBytes, least)-1))
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Writer{
		opts: opts, file: newFile(w, opts.SnapLen+maxOuter), start: opts.Now(),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	c.live.Store(true)
	go c.run()
	return c
}

// addInterface returns the number of a new interface.
func (c *Writer) addInterface(name, description string, o *outers) int {
	c.mu.Lock()
	c.ifaces = append(c.ifaces, iface{name, description, o})
	n := len(c.ifaces) - 1
	c.mu.Unlock()
	c.nudge()
	return n
}

func (c *Writer) addRing(iface int) *ring {
	r := newRing(iface, c.opts.RingBytes, c.opts.SnapLen)
	c.mu.Lock()
	c.rings = append(c.rings, r)
	c.mu.Unlock()
	return r
}

// stamp is the time of a batch. It never goes back, whatever happens to the system's clock.
func (c *Writer) stamp() int64 {
	return c.start.UnixNano() + int64(c.opts.Now().Sub(c.start))
}

// publish lets the writer see what r holds.
func (c *Writer) publish(r *ring) {
	if r.publish() {
		c.nudge()
	}
}

// nudge wakes the goroutine, which need not be told twice.
func (c *Writer) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (c *Writer) Stats() Stats {
	s := Stats{Written: c.written.Load()}
	_, rings := c.snapshot()
	for _, r := range rings {
		s.Captured += r.captured.Load()
		s.Dropped += r.dropped.Load()
	}
	return s
}

// Done is closed when the capture has ended: by Close, by an error, or since Options.Count is reached.
func (c *Writer) Done() <-chan struct{} { return c.done }

// Err says why the capture ended: what the io.Writer said, or ErrClosed. It is nil while the capture goes on.
func (c *Writer) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the capture: it writes what was copied before, statistics of each interface, and returns the error that the
// capture ended with, if any. It waits for a Write of the io.Writer that is under way. It may be called twice.
func (c *Writer) Close() error {
	c.once.Do(func() {
		c.live.Store(false)
		close(c.quit)
	})
	<-c.done
	if err := c.Err(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

func (c *Writer) snapshot() ([]iface, []*ring) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ifaces[:len(c.ifaces):len(c.ifaces)], c.rings[:len(c.rings):len(c.rings)]
}

// run writes until Close or the first error.
func (c *Writer) run() {
	defer close(c.done)
	err := c.loop()
	c.live.Store(false)
	if err == nil {
		err = ErrClosed
	} else {
		err = fmt.Errorf("write the capture: %w", err)
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
}

func (c *Writer) loop() error {
	for {
		closing := false
		select {
		case <-c.wake:
		case <-c.quit:
			closing = true
		}
		full, err := c.drain()
		if err != nil {
			return err
		}
		if closing = closing || full; closing {
			if err := c.finish(); err != nil {
				return err
			}
		}
		if err := c.file.out.Flush(); err != nil || closing {
			return err
		}
	}
}

// describe writes the interfaces that are new.
func (c *Writer) describe(ifaces []iface) error {
	for ; c.described < len(ifaces); c.described++ {
		if err := c.file.addInterface(ifaces[c.described].name, ifaces[c.described].description); err != nil {
			return err
		}
	}
	return nil
}

// drain writes what the rings hold, the oldest first. Within one worker's batch all packets bear the same time.
//
// It looks for the oldest record until it has found the same one twice. What a worker published before it published that
// one was there for all of the second look: so cause stands before effect in the file. Where a worker was held up between
// taking a time and publishing, the file says the later time that was written meanwhile: times in it never go back.
//
// It says whether the capture has as many packets as it was to have.
func (c *Writer) drain() (full bool, err error) {
	var last *ring
	for {
		ifaces, rings := c.snapshot()
		if err := c.describe(ifaces); err != nil {
			return false, err
		}
		if c.opts.Count > 0 && c.written.Load() == c.opts.Count {
			return true, nil
		}
		r := oldest(rings)
		if r == nil {
			return false, nil
		}
		if r != last {
			last = r
			continue
		}
		last = nil
		m, data, _ := r.peek()
		var header []byte
		if m.kind == kindFrame {
			header = ifaces[r.iface].outers.at(m.under).put(c.header[:], &m, data)
		}
		m.time = max(m.time, c.latest)
		c.latest = m.time
		if err := c.file.packet(r.iface, &m, header, data, len(header)+m.length); err != nil {
			return false, err
		}
		c.written.Add(1)
		r.done()
	}
}

// oldest returns the ring whose next record is the oldest, nil where all are empty.
func oldest(rings []*ring) *ring {
	var found *ring
	var at int64
	for _, r := range rings {
		if m, _, ok := r.peek(); ok && (found == nil || m.time < at) {
			found, at = r, m.time
		}
	}
	return found
}

// finish writes each interface's statistics.
func (c *Writer) finish() error {
	ifaces, rings := c.snapshot()
	if err := c.describe(ifaces); err != nil {
		return err
	}
	now := c.opts.Now()
	for i := range ifaces {
		var s Stats
		for _, r := range rings {
			if r.iface == i {
				s.Captured += r.captured.Load()
				s.Dropped += r.dropped.Load()
			}
		}
		if err := c.file.statistics(i, c.start, now, s.Captured, s.Dropped); err != nil {
			return err
		}
	}
	return nil
}
