package packet

// MaxBatch is how many packets a batch holds at the most.
const MaxBatch = 128

// Batch is an arena and the packets that stand in it. The zero Batch has no arena: its packets borrow their slots from
// somebody else, as clear packets borrow the datagrams they were opened in.
//
// The worker that owns it fills it by one reader, walks it to the end and calls Reset.
type Batch struct {
	pkts  [MaxBatch]Packet
	n     int
	arena []byte
	used  int

	// Lost is how many packets the reader's port had no room for since it was last read.
	Lost int
}

// NewBatch returns a batch with an arena of size bytes. A reader that may get super-packets needs at least
// HeadRoom+MaxSize+TailRoom; four times that lets a wake-up drain several.
func NewBatch(size int) *Batch {
	return &Batch{arena: make([]byte, size)}
}

// Packets returns the packets in the batch, in the order of arrival. The slice is valid until the next Reset.
func (b *Batch) Packets() []Packet { return b.pkts[:b.n] }

// Len returns how many packets the batch holds.
func (b *Batch) Len() int { return b.n }

// Room returns how many more packets the batch can hold.
func (b *Batch) Room() int { return MaxBatch - b.n }

// Reset forgets all packets and takes the arena back.
func (b *Batch) Reset() { b.n, b.used, b.Lost = 0, 0, 0 }

// Space returns the free part of the arena where the next packet may be placed: HeadRoom has been left in front of it
// and TailRoom behind. It is nil where fewer than want bytes are left or the batch is full: time to walk the batch.
func (b *Batch) Space(want int) []byte {
	lo, hi := b.used+HeadRoom, len(b.arena)-TailRoom
	if b.n == MaxBatch || hi-lo < want {
		return nil
	}
	return b.arena[lo:hi]
}

// Commit makes a packet of the first skip+n bytes of what Space returned: skip bytes of the port's own header, which
// become headroom, and n bytes of packet. The caller fills in Offload.
func (b *Batch) Commit(skip, n int) *Packet {
	start := b.used
	end := start + HeadRoom + skip + n + TailRoom
	b.used = (end + 63) &^ 63
	if b.used > len(b.arena) {
		b.used = len(b.arena)
	}
	p := b.next()
	p.Buf, p.Off, p.Len = b.arena[start:end:end], HeadRoom+skip, n
	return p
}

// Append makes a packet of slot[off:off+n], a buffer that somebody else owns and that outlives the next Reset. It
// returns nil where the batch is full.
func (b *Batch) Append(slot []byte, off, n int) *Packet {
	if b.n == MaxBatch {
		return nil
	}
	p := b.next()
	p.Buf, p.Off, p.Len = slot, off, n
	return p
}

// Unappend takes the newest packet back.
func (b *Batch) Unappend() { b.n-- }

func (b *Batch) next() *Packet {
	p := &b.pkts[b.n]
	b.n++
	p.Offload = Offload{}
	p.Ingress = 0
	p.Drop = None
	return p
}
