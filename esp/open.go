package esp

import "encoding/binary"

// Verdict is what became of a datagram.
type Verdict uint8

// Verdicts.
const (
	OK            Verdict = iota
	Dummy                 // a dummy packet (RFC 4303 section 2.6): right, and to be discarded quietly
	TooShort              // cannot be an ESP packet of this suite
	Replayed              // sequence number has been seen
	TooOld                // sequence number is left of the window
	BadICV                // not from the peer, or damaged
	BadPadding            // padding is not 1, 2, 3 ... (RFC 4303 section 2.4)
	BadNextHeader         // neither IPv4 nor IPv6, or not what the inner packet is
	NumVerdicts           // how many there are; not a verdict
)

var verdictNames = [NumVerdicts]string{"ok", "dummy", "too short", "replayed", "too old", "bad ICV", "bad padding", "bad next header"}

// String returns the verdict for people.
func (v Verdict) String() string {
	if v < NumVerdicts {
		return verdictNames[v]
	}
	return "verdict?"
}

// MaxBatch is how many datagrams a Batch holds.
const MaxBatch = 128

// Batch is a run of datagrams for one SA and what became of each. A worker keeps one and uses it again and again.
type Batch struct {
	n     int
	items [MaxBatch]item
}

type item struct {
	datagram []byte
	seq      uint64
	off, len int
	verdict  Verdict
}

// Reset empties the batch.
func (b *Batch) Reset() { b.n = 0 }

// Len returns how many datagrams the batch holds.
func (b *Batch) Len() int { return b.n }

// Add adds a datagram of any length, an ESP packet from the SPI on. It is borrowed until Reset. Add reports false, and adds
// nothing, where the batch is full.
func (b *Batch) Add(datagram []byte) bool {
	if b.n == MaxBatch {
		return false
	}
	b.items[b.n].datagram = datagram
	b.n++
	return true
}

// Full says whether the batch has no room left.
func (b *Batch) Full() bool { return b.n == MaxBatch }

// Datagram returns the datagram that was added as number i.
func (b *Batch) Datagram(i int) []byte { return b.items[i].datagram }

// Result returns the verdict on datagram i. If it is OK, the inner packet stands at datagram[off:off+n], followed by TFC
// padding if the IP header says that it is shorter.
func (b *Batch) Result(i int) (off, n int, v Verdict) {
	it := &b.items[i]
	return it.off, it.len, it.verdict
}

// OpenBatch opens the datagrams in place: first all are checked against the replay window, then their ICVs are verified
// and they are decrypted, then those whose ICV was right are recorded in the window. It says whether one of them has the
// highest sequence number so far, and so tells where the peer is now.
func (sa *Inbound) OpenBatch(s *Scratch, b *Batch) (newest bool) {
	items := b.items[:b.n]
	sa.check(items)
	if sa.cbc == nil {
		sa.openAEAD(s, items)
	} else {
		sa.openCBC(s, items)
	}
	return sa.commit(items)
}

// check finds each datagram's whole sequence number and asks the window.
func (sa *Inbound) check(items []item) {
	size, esn := sa.size, sa.esn
	around := size.header() + size.icv
	shortest := around + max(size.block, 4)
	sa.mu.Lock()
	defer sa.mu.Unlock()
	top := sa.win.top
	for i := range items {
		it := &items[i]
		if n := len(it.datagram); n < shortest || (n-around)&(size.block-1) != 0 {
			it.verdict = TooShort
			continue
		}
		low := binary.BigEndian.Uint32(it.datagram[4:])
		if it.seq = uint64(low); esn {
			it.seq = sa.win.infer(low)
		}
		if it.verdict = OK; it.seq <= top { // most are newer than all before
			it.verdict = sa.win.check(it.seq)
		}
	}
}

// openAEAD verifies and decrypts the datagrams that passed the check, and looks at what is inside.
func (sa *Inbound) openAEAD(s *Scratch, items []item) {
	aead, nonce := sa.aead, s.nonce[:]
	copy(nonce, sa.salt[:])
	for i := range items {
		it := &items[i]
		if it.verdict != OK {
			continue
		}
		b := it.datagram
		aad := b[:8:8]
		if sa.esn {
			aad = s.associated(b, uint32(it.seq>>32))
		}
		binary.NativeEndian.PutUint64(nonce[4:12], binary.NativeEndian.Uint64(b[8:16]))
		plain, err := aead.Open(b[16:16], nonce, b[16:], aad)
		if err != nil {
			it.verdict = BadICV
			continue
		}
		it.off = 16
		it.len, it.verdict = inner(plain)
	}
}

// openCBC does the same with suites that encrypt and authenticate apart.
func (sa *Inbound) openCBC(s *Scratch, items []item) {
	cbc := sa.cbc.get()
	defer sa.cbc.put(cbc)
	for i := range items {
		it := &items[i]
		if it.verdict != OK {
			continue
		}
		plain := cbc.open(s, it.datagram, sa.esn, uint32(it.seq>>32))
		if plain == nil {
			it.verdict = BadICV
			continue
		}
		it.off = sa.size.header()
		it.len, it.verdict = inner(plain)
	}
}

// inner reads the trailer (RFC 4303 sections 2.4 to 2.6) and returns how long the inner packet is. plain has at least 4 bytes.
func inner(plain []byte) (n int, v Verdict) {
	trailer := binary.BigEndian.Uint32(plain[len(plain)-4:]) // two bytes of padding or of the packet, pad length, next header
	next, pad := byte(trailer), int(byte(trailer>>8))
	n = len(plain) - 2 - pad
	switch { // a packet of whole words has two bytes of padding, and most do with less than three
	case pad == 0, pad == 2 && trailer>>16 == 0x0102, pad == 1 && byte(trailer>>16) == 1:
	case n < 0 || !padding(plain[n:n+pad]):
		return 0, BadPadding
	}
	version := plain[0] >> 4
	switch {
	case n > 0 && (next == 4 && version == 4 || next == 41 && version == 6):
		return n, OK
	case next == 59:
		return n, Dummy
	}
	return n, BadNextHeader
}

// padding says whether b is 1, 2, 3 and so on.
func padding(b []byte) bool {
	for i, c := range b {
		if int(c) != i+1 {
			return false
		}
	}
	return true
}

// authentic says that the ICV was right, whatever was inside.
func (v Verdict) authentic() bool {
	return v == OK || v == Dummy || v == BadPadding || v == BadNextHeader
}

// commit records in the window every datagram whose ICV was right. What came in order is recorded at once, which is quicker
// than one by one: each would wait for what the one before it wrote.
func (sa *Inbound) commit(items []item) (newest bool) {
	sa.mu.Lock()
	defer sa.mu.Unlock()
	n, bytes := 0, uint64(0)
	for next := sa.win.top + 1; n < len(items) && items[n].seq == next && items[n].verdict.authentic(); n++ {
		bytes += uint64(items[n].len)
		next++
	}
	sa.win.extend(uint64(n))
	sa.packets += uint64(n)
	sa.bytes += bytes
	newest = n > 0
	for i := n; i < len(items); i++ {
		it := &items[i]
		if !it.verdict.authentic() {
			continue
		}
		v, top := sa.win.commit(it.seq)
		newest = newest || top
		if v != OK {
			it.verdict = v
			continue
		}
		sa.packets++
		sa.bytes += uint64(it.len)
	}
	return newest
}
