package handshake

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

const (
	labelMAC1   = "mac1----"
	labelCookie = "cookie--"
)

type mac = [macSize]byte

// labelled is a key that anyone who knows the public key can derive (paper, section 5.4.4).
func labelled(label string, k PublicKey) [KeySize]byte {
	return blake2s.Sum256(append([]byte(label), k[:]...))
}

func newMAC(key []byte) hash.Hash {
	h, err := blake2s.New128(key)
	if err != nil {
		panic("handshake: BLAKE2s refuses a key of 16 or 32 octets: " + err.Error())
	}
	return h
}

func keyedMAC(key, b []byte) (m mac) {
	h := newMAC(key)
	h.Write(b)
	h.Sum(m[:0])
	return m
}

// A doorman checks the MACs of handshake messages that come in, and makes cookies for those who must prove their address.
// It may be used from any goroutine. What a flood makes it do does not allocate, so that a flood feeds no garbage collector.
type doorman struct {
	mac1    *macers
	sealer  cipher.AEAD // of cookies
	replies sync.Pool   // of *CookieReply

	mu     sync.Mutex
	recipe *macers   // of cookies, by a secret
	made   time.Time // when the secret was; zero: there is none yet
}

// macers are MACs by one key, for as many goroutines as want one.
type macers struct{ pool sync.Pool }

// macer is one of them, with room for what it reads and writes: what is handed to a hash.Hash would escape to the heap.
type macer struct {
	hash.Hash
	sum     mac
	address [16 + 2]byte
}

func newMACers(key []byte) *macers {
	return &macers{sync.Pool{New: func() any { return &macer{Hash: newMAC(key)} }}}
}

// of is the MAC of b.
func (m *macers) of(b []byte) mac {
	h := m.pool.Get().(*macer)
	defer m.pool.Put(h)
	return h.of(b)
}

func (h *macer) of(b []byte) mac {
	h.Reset()
	h.Write(b)
	h.Sum(h.sum[:0])
	return h.sum
}

// ofAddress is the MAC of an address and a port.
func (m *macers) ofAddress(from netip.AddrPort) mac {
	h := m.pool.Get().(*macer)
	defer m.pool.Put(h)
	h.address = [16 + 2]byte{}
	b := h.address[:0]
	if a := from.Addr().Unmap(); a.Is4() {
		four := a.As4()
		b = append(b, four[:]...)
	} else {
		sixteen := a.As16()
		b = append(b, sixteen[:]...)
	}
	return h.of(binary.BigEndian.AppendUint16(b, from.Port()))
}

func newDoorman(own PublicKey) *doorman {
	key := labelled(labelMAC1, own)
	return &doorman{mac1: newMACers(key[:]), sealer: mustX(labelled(labelCookie, own)),
		replies: sync.Pool{New: func() any { return new(CookieReply) }}}
}

// knocks says that mac1 of an initiation or a response is right: whoever sent it knows our public key.
func (d *doorman) knocks(b []byte) bool {
	end := len(b) - 2*macSize
	m := d.mac1.of(b[:end])
	return subtle.ConstantTimeCompare(m[:], b[end:end+macSize]) == 1
}

// proves says that mac2 is right: whoever sent the message has a cookie of ours for its address. A sender without one puts zeros there
// (paper, section 5.4.4).
func (d *doorman) proves(now time.Time, b []byte, from netip.AddrPort) bool {
	if mac(b[len(b)-macSize:]) == (mac{}) {
		return false
	}
	cookie, ok := d.cookie(now, from, false)
	if !ok {
		return false
	}
	end := len(b) - macSize
	m := keyedMAC(cookie[:], b[:end])
	return subtle.ConstantTimeCompare(m[:], b[end:]) == 1
}

// cookie is the cookie of an address. There is none where the secret has expired, unless it is to be renewed.
func (d *doorman) cookie(now time.Time, from netip.AddrPort, renew bool) (mac, bool) {
	d.mu.Lock()
	if d.made.IsZero() || now.Sub(d.made) >= CookieRefreshTime {
		if !renew {
			d.mu.Unlock()
			return mac{}, false
		}
		var secret [KeySize]byte
		_, _ = rand.Read(secret[:])
		d.recipe, d.made = newMACers(secret[:]), now
	}
	recipe := d.recipe
	d.mu.Unlock()
	return recipe.ofAddress(from), true
}

// refuse is the cookie reply to an initiation or a response whose sender has the index sender.
func (d *doorman) refuse(now time.Time, b []byte, sender uint32, from netip.AddrPort) CookieReply {
	cookie, _ := d.cookie(now, from, true)
	reply := d.replies.Get().(*CookieReply)
	defer d.replies.Put(reply)
	reply.Receiver = sender
	_, _ = rand.Read(reply.Nonce[:])
	copy(reply.Cookie[:], cookie[:])
	end := len(b) - macSize
	d.sealer.Seal(reply.Cookie[:0], reply.Nonce[:], reply.Cookie[:cookieSize], b[end-macSize:end])
	return *reply
}

// A purse is the cookie that a peer gave us, and what is needed to accept one.
type purse struct {
	cookie mac
	got    time.Time // zero: there is no cookie
	last   mac       // mac1 of the message we sent last: a cookie reply is bound to it
	sent   bool
}

// sign writes mac1, and mac2 where there is a cookie, at the end of a message to the peer.
func (p *purse) sign(now time.Time, to PublicKey, b []byte) {
	key := labelled(labelMAC1, to)
	end := len(b) - 2*macSize
	p.last = keyedMAC(key[:], b[:end])
	p.sent = true
	copy(b[end:], p.last[:])
	if !p.got.IsZero() && now.Sub(p.got) < CookieRefreshTime {
		mac2 := keyedMAC(p.cookie[:], b[:end+macSize])
		copy(b[end+macSize:], mac2[:])
	}
}

// take keeps the cookie of a reply, if it answers the message that was sent last and has not been answered.
func (p *purse) take(now time.Time, from PublicKey, m *CookieReply) bool {
	if !p.sent {
		return false
	}
	var cookie mac
	if _, err := mustX(labelled(labelCookie, from)).Open(cookie[:0], m.Nonce[:], m.Cookie[:], p.last[:]); err != nil {
		return false
	}
	p.cookie, p.got, p.sent = cookie, now, false
	return true
}

func mustX(key [KeySize]byte) cipher.AEAD {
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic("handshake: XChaCha20-Poly1305 refuses a key of 32 octets: " + err.Error())
	}
	return aead
}
