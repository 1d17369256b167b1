package esp

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/warrenvpn/warren/internal/tally"
)

// The default and the largest replay window, in packets.
const (
	DefaultReplayWindow = 1024
	MaxReplayWindow     = 8192
)

// Config of one SA, either direction.
type Config struct {
	// SPI is at least 256 (RFC 4303 section 2.1).
	SPI   uint32
	Suite Suite
	// Key is Suite.KeyLen() bytes long: the encryption key, then the salt of an AEAD (RFC 4106 section 8.1, RFC 7634
	// section 2) or the integrity key. It is copied.
	Key []byte
	// ESN: 64-bit extended sequence numbers (RFC 4303 section 2.2.1).
	ESN bool
	// ReplayWindow of an inbound SA in packets: 0 accepts repetitions, MaxReplayWindow at the most.
	ReplayWindow int
	// IVBase of an outbound SA is added to the sequence number to make an AEAD's IV. It is 0 where a key is used once,
	// as IKE's are.
	IVBase uint64
	// IVState, where it is set, says what an outbound AEAD's IVs start from instead of IVBase, and how far they may go. It
	// is for keys that outlive the process, as keys set by hand do.
	IVState *IVState
}

// ErrKeyLength says that keying material is not as long as its suite wants it.
var ErrKeyLength = errors.New("wrong key length")

func (c *Config) validate() error {
	switch {
	case !c.Suite.valid():
		return fmt.Errorf("esp: no %v", c.Suite)
	case c.SPI < 256:
		return fmt.Errorf("esp: SPI %d: those below 256 are reserved (RFC 4303 section 2.1)", c.SPI)
	case len(c.Key) != c.Suite.KeyLen():
		return fmt.Errorf("esp: %w: %v wants %s, %d in all, not %d", ErrKeyLength, c.Suite, c.Suite.KeyParts(), c.Suite.KeyLen(), len(c.Key))
	case c.ReplayWindow < 0 || c.ReplayWindow > MaxReplayWindow:
		return fmt.Errorf("esp: replay window of %d packets: from 0 to %d", c.ReplayWindow, MaxReplayWindow)
	case c.IVState != nil && !c.Suite.AEAD():
		return fmt.Errorf("esp: %v has random IVs, which need no IV state", c.Suite)
	}
	return nil
}

// keyed is what both halves of an SA have in common: immutable, but for the contexts that it lends.
type keyed struct {
	spi   uint32
	suite Suite
	size  *sizes
	esn   bool
	// aead and salt, or cbc.
	aead cipher.AEAD
	salt [4]byte
	cbc  *cbcContexts
}

func newKeyed(c *Config, decrypt bool) (keyed, error) {
	if err := c.validate(); err != nil {
		return keyed{}, err
	}
	k := keyed{spi: c.SPI, suite: c.Suite, size: &suites[c.Suite], esn: c.ESN}
	key, rest := c.Key[:k.size.cipher], c.Key[k.size.cipher:]
	var err error
	switch {
	case c.Suite == ChaCha20Poly1305:
		k.aead, err = chacha20poly1305.New(key)
	case c.Suite.AEAD():
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			k.aead, err = cipher.NewGCM(block)
		}
	default:
		k.cbc, err = newCBCContexts(c.Suite, key, rest, decrypt)
	}
	if err != nil {
		return keyed{}, fmt.Errorf("esp: key %v: %w", c.Suite, err)
	}
	if k.aead != nil {
		copy(k.salt[:], rest)
	}
	return k, nil
}

// SPI returns the SA's security parameters index.
func (k *keyed) SPI() uint32 { return k.spi }

// Suite returns the SA's algorithms.
func (k *keyed) Suite() Suite { return k.suite }

// ESN says whether the SA has extended sequence numbers.
func (k *keyed) ESN() bool { return k.esn }

// HeaderLen returns how many bytes stand in front of the inner packet.
func (k *keyed) HeaderLen() int { return k.size.header() }

// TrailerLen returns how many bytes stand behind an inner packet of n bytes: padding, trailer and ICV.
func (k *keyed) TrailerLen(n int) int { return k.size.pad(n) + 2 + k.size.icv }

// MaxTrailerLen returns the most that TrailerLen returns.
func (k *keyed) MaxTrailerLen() int { return k.size.block - 1 + 2 + k.size.icv }

// SealedLen returns the length of the ESP packet that holds an inner packet of n bytes.
func (k *keyed) SealedLen(n int) int { return k.size.sealed(n) }

// MaxInner returns the length of the largest inner packet whose ESP packet has at most room bytes.
func (k *keyed) MaxInner(room int) int { return k.size.maxInner(room) }

// Outbound is the sealing half of an SA.
//
// It is two cache lines: one that is read, and one that workers write, with what else they use then.
type Outbound struct {
	keyed
	ivBase uint64
	_      [(64 - (unsafe.Sizeof(keyed{})+8)%64) % 64]byte

	// last is the highest sequence number that was given out.
	last atomic.Uint64
	// limit is the highest sequence number that may be given out, hard the highest that it may be set to.
	limit atomic.Uint64
	hard  uint64
	// bytes is how many have been sealed, of inner packets.
	bytes tally.Shared
	// user is the worker that had its turn last, plus one.
	user atomic.Int32
	// shared is for how many turns more the SA counts as shared.
	shared atomic.Int32
	_      [8]byte
}

// NewOutbound returns an SA to seal with. The first sequence number is 1 (RFC 4303 section 2.2).
func NewOutbound(c Config) (*Outbound, error) {
	k, err := newKeyed(&c, false)
	if err != nil {
		return nil, err
	}
	if c.IVState != nil {
		c.IVBase = c.IVState.Base()
	}
	sa := &Outbound{keyed: k, ivBase: c.IVBase, hard: math.MaxUint32}
	if c.ESN {
		// The counter may overshoot the limit by what workers ask for, so keep well away from where it would wrap.
		sa.hard = math.MaxUint64 - 1<<40
	}
	if c.Suite.AEAD() {
		sa.hard = min(sa.hard, math.MaxUint64-c.IVBase)
	}
	sa.limit.Store(sa.hard)
	if c.IVState != nil {
		if err := c.IVState.serve(sa); err != nil {
			return nil, fmt.Errorf("esp: %w", err)
		}
	}
	return sa, nil
}

// Sent returns how many sequence numbers have been used.
func (sa *Outbound) Sent() uint64 { return min(sa.last.Load(), sa.limit.Load()) }

// Carried counts bytes of inner packets that were sealed, as a worker does once a run. There is only one worker of each number at a
// time.
func (sa *Outbound) Carried(worker int, bytes uint64) { sa.bytes.Add(worker, bytes) }

// Bytes returns how many bytes were carried.
func (sa *Outbound) Bytes() uint64 { return sa.bytes.Load() }

// sharedFor is how many turns of one worker in a row it takes until the SA is its own again: so many that the other, which may
// only be waiting for a processor, would have had its turn.
const sharedFor = 1024

// Turn notes that a worker is about to reserve numbers, and says whether others have done so lately.
func (sa *Outbound) Turn(worker int) (shared bool) {
	if me, last := int32(worker)+1, sa.user.Load(); last != me {
		sa.user.Store(me)
		if last != 0 {
			sa.shared.Store(sharedFor)
		}
		return last != 0
	}
	left := sa.shared.Load()
	if left > 0 {
		sa.shared.Store(left - 1)
	}
	return left > 0
}

// IV returns the IV that an AEAD's next packet will carry, at least.
func (sa *Outbound) IV() uint64 { return sa.ivBase + sa.Sent() + 1 }

// SetLimit lets the SA give out sequence numbers up to seq and no further, for whoever must record first what has been
// used. It never lifts the limit above what the SA's numbers allow.
func (sa *Outbound) SetLimit(seq uint64) { sa.limit.Store(min(seq, sa.hard)) }

// Exhausted says whether the sequence numbers are used up, so that the SA seals no more (RFC 4303 section 3.3.3).
func (sa *Outbound) Exhausted() bool { return sa.last.Load() >= sa.hard }

// Inbound is the opening half of an SA.
type Inbound struct {
	keyed
	mu  sync.Mutex
	win window
	// packets and bytes are those of packets that came for the first time with a right ICV, whatever was inside; mu guards them too.
	packets, bytes uint64
}

// NewInbound returns an SA to open with.
func NewInbound(c Config) (*Inbound, error) {
	k, err := newKeyed(&c, true)
	if err != nil {
		return nil, err
	}
	return &Inbound{keyed: k, win: newWindow(c.ReplayWindow)}, nil
}

// Received returns the highest sequence number that arrived with a right ICV.
func (sa *Inbound) Received() uint64 {
	sa.mu.Lock()
	defer sa.mu.Unlock()
	return sa.win.top
}

// Carried returns how many packets came for the first time with a right ICV, dummies among them, and how many bytes were inside.
func (sa *Inbound) Carried() (packets, bytes uint64) {
	sa.mu.Lock()
	defer sa.mu.Unlock()
	return sa.packets, sa.bytes
}

// ReplayWindow returns the window's size in packets; 0 for none.
func (sa *Inbound) ReplayWindow() int { return int(sa.win.size) }

// Scratch is what one worker needs to seal and to open, whatever the SA. It must not be used by two at a time.
type Scratch struct {
	nonce [12]byte
	aad   [12]byte
	mac   [64]byte
	saved [32]byte
	// random holds bytes for CBC IVs; those from used on are fresh.
	random [512]byte
	used   int
}

// NewScratch returns a worker's scratch.
func NewScratch() *Scratch { return &Scratch{used: len(Scratch{}.random)} }
