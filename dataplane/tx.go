package dataplane

import "github.com/warrenvpn/warren/dataplane/packet"

const (
	// maxFrames is how many frames a worker holds before it sends them.
	maxFrames = 256
	// txArena holds the frames that could not be sealed in place: the segments of three 64 KiB super-packets.
	txArena = 3 * runBytes

	// runFrames and runBytes are what is kept free for the run to come: as many frames as a tunnel takes numbers for at once,
	// and a 64 KiB super-packet of segments of more than 500 bytes.
	runFrames = 128
	runBytes  = 72 << 10
)

// Tx collects a worker's sealed frames until they are sent. It owns the arena in which frames stand that were not
// sealed in place; those that were stand in the batch, which therefore must not be reset before the flush.
type Tx struct {
	frames  []Frame
	numbers []numbered
	arena   []byte
	used    int
	senders []senderOf
	count   *Counters
}

// Numberer is what gave frames consecutive sequence numbers of a counter that several workers share.
type Numberer interface {
	// Renew is called right before the frames leave, which have the numbers from first on: their worker may have waited while
	// others ran ahead. worker is the caller's index.
	Renew(worker int, frames []Frame, first uint64)
}

// numbered are frames[from:to].
type numbered struct {
	by       Numberer
	from, to int
	first    uint64
}

// senderOf remembers a worker's sender for one underlay. There are only ever a few.
type senderOf struct {
	underlay Underlay
	sender   Sender
}

func newTx(c *Counters) Tx {
	return Tx{frames: make([]Frame, 0, maxFrames), numbers: make([]numbered, 0, maxFrames), arena: make([]byte, txArena), count: c}
}

// Space returns n bytes for a frame that is not sealed in place. Earlier frames may be sent to make room. n must not
// exceed 64 KiB. The bytes are the frame's until the flush; Take them before Append.
func (t *Tx) Space(n int) []byte {
	if len(t.arena)-t.used < n {
		t.send()
	}
	return t.arena[t.used : t.used+n : t.used+n]
}

// Take marks the first n bytes that Space returned as used by a frame.
func (t *Tx) Take(n int) { t.used += n }

// Append adds a frame. When it takes the last room all frames are sent at once, rather than before the next one, whose bytes
// would have been taken from the arena by then.
func (t *Tx) Append(f Frame) {
	if t.frames = append(t.frames, f); len(t.frames) == maxFrames {
		t.send()
	}
}

// Numbered ends a run: the last n frames have the numbers from first on. Those that were sent already are left out. What is in
// hand leaves where the next run might not fit, so that runs are seldom cut.
func (t *Tx) Numbered(by Numberer, n int, first uint64) {
	if held := len(t.frames); n > held {
		first += uint64(n - held)
		n = held
	}
	if n > 0 {
		t.number(by, n, first)
	}
	if len(t.frames) > maxFrames-runFrames || len(t.arena)-t.used < runBytes {
		t.Flush()
	}
}

func (t *Tx) number(by Numberer, n int, first uint64) {
	if last := len(t.numbers) - 1; last >= 0 {
		before := &t.numbers[last]
		if before.to == len(t.frames)-n && before.first+uint64(before.to-before.from) == first && before.by == by {
			before.to = len(t.frames)
			return
		}
	}
	t.numbers = append(t.numbers, numbered{by, len(t.frames) - n, len(t.frames), first})
}

// Flush sends all frames, with new numbers where others ran ahead of theirs, and counts what did not leave.
func (t *Tx) Flush() {
	for i := range t.numbers {
		n := &t.numbers[i]
		n.by.Renew(t.count.worker, t.frames[n.from:n.to], n.first)
	}
	t.send()
}

// send sends all frames with the numbers that they have, each run of one underlay by one call. It is all that may be done
// amid a run: what the run has reserved but not yet used looks like others' running ahead, and frames that got newer numbers
// for it would leave before the run's own.
func (t *Tx) send() {
	t.numbers = t.numbers[:0]
	if ts := t.count.tunnels.taps.Load(); ts != nil {
		ts.sent(t.count.worker, t.frames)
	}
	for lo := 0; lo < len(t.frames); {
		path := t.frames[lo].Path
		u := path.Underlay
		hi := lo + 1
		for hi < len(t.frames) && (t.frames[hi].Path == path || t.frames[hi].Path.Underlay == u) {
			hi++
		}
		t.sender(u).Send(t.frames[lo:hi])
		lo = hi
	}
	for i := range t.frames {
		if f := &t.frames[i]; f.Drop != packet.None {
			t.count.Drop(f.Drop, f.Tunnel, 1)
		}
	}
	t.frames = t.frames[:0]
	t.used = 0
}

func (t *Tx) sender(u Underlay) Sender {
	for i := range t.senders {
		if t.senders[i].underlay == u {
			return t.senders[i].sender
		}
	}
	s := u.NewSender()
	t.senders = append(t.senders, senderOf{u, s})
	return s
}
