package ike

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/crypto"
	"github.com/warrenvpn/warren/tunnel/ike/message"
	"github.com/warrenvpn/warren/tunnel/ike/proposal"
)

// A state is that of an IKE SA. Only become changes it.
//
//	initiating ──► authenticating ─┐               ┌─► replaced ─┐
//	                               ├─► established ┤             ├─► closed ─► dead
//	halfOpen ──────────────────────┘               └─► deleting ─┘
//
// Every state may go to closed or dead.
type state uint8

const (
	initiating     state = iota // our IKE_SA_INIT request is out
	halfOpen                    // the peer's is answered
	authenticating              // our IKE_INTERMEDIATE or IKE_AUTH request is out
	established
	replaced // rekeyed: its children are another's; the DELETE is still to come
	deleting // our DELETE is out
	closed   // over, but its last answer is still sent again
	dead
)

// String names the state as swanctl does.
func (s state) String() string {
	return [...]string{"CONNECTING", "HALF-OPEN", "AUTHENTICATING", "ESTABLISHED", "REKEYED", "DELETING", "CLOSED", "DESTROYED"}[s]
}

// An ikeSA is an IKE SA as one side sees it.
type ikeSA struct {
	e *Endpoint
	// peer is nil as long as a responder does not know with whom it speaks.
	peer      *peer
	number    uint64
	initiator bool // we are its original initiator
	spi       crypto.SPIs
	state     state
	path      Path
	nat       natState
	sec       security
	ids       struct{ local, remote message.ID }
	leased    Lease // of our pool
	assigned  Lease // by the peer
	can       abilities

	// hs is what is only needed until the IKE SA is established.
	hs   *handshake
	out  outgoing
	in   incoming
	life lifetimes

	children []*child
	swap     rekeying
	// replaces are the IKE SAs that give way to this one.
	replaces []*replacement
	stray    stray
}

// security is what protects an IKE SA's messages.
type security struct {
	choice proposal.Choice
	suite  crypto.Suite
	keys   *crypto.Keys
	sealer *crypto.Sealer
	opener *crypto.Opener
}

// abilities are what the peer said that it can do.
type abilities struct {
	fragments    bool
	intermediate bool
	hashes       []crypto.HashID
}

type lifetimes struct {
	born, authenticated  time.Time // however often it was rekeyed since
	established          time.Time
	heard                time.Time // when the peer last proved to be alive
	handshake            timer     // ends what does not become established, and what lingers
	rekey, reauth        timer
	hard, dpd, keepalive timer
	auth                 timer // ends what was not authenticated anew
	// validFor is how long the authentication lasts, from which on there are reauthAt and validUntil.
	validFor time.Duration
	// reauthAt is when we authenticate anew, validUntil when the IKE SA ends if nobody did, however often it is rekeyed before;
	// zero for never.
	reauthAt, validUntil time.Time
	// introduced: we initiated the authentication, and it is ours to repeat it.
	introduced bool
}

var (
	errRemoved    = errors.New("the peer was removed from the configuration")
	errStopped    = errors.New("the engine stops")
	errTerminated = errors.New("terminated")
	errTimeout    = errors.New("the peer does not answer")
	errPeerClosed = errors.New("the peer deleted it")
	errReplaced   = errors.New("replaced by a newer one")
	errLifetime   = errors.New("its lifetime is over")
	errAuthOld    = errors.New("the authentication was not repeated in time")
	errRestarted  = errors.New("the peer has restarted and knows no older IKE SA")
	errDuplicate  = errors.New("both sides initiated at once, and the other IKE SA stays")
	errHalfOpen   = errors.New("the handshake took too long")
)

// newSA returns an IKE SA that can be found by our SPI.
func (e *Endpoint) newSA(spi crypto.SPIs, initiator bool, first state) *ikeSA {
	e.number++
	sa := &ikeSA{e: e, spi: spi, initiator: initiator, number: e.number, state: first}
	sa.life.born = e.now
	sa.swap.replaced = new(int)
	e.sas[sa.ourSPI()] = sa
	return sa
}

func (sa *ikeSA) ourSPI() uint64 {
	if sa.initiator {
		return sa.spi.Initiator
	}
	return sa.spi.Responder
}

// alive says whether the IKE SA is established and still what children are made with.
func (sa *ikeSA) alive() bool { return sa.state == established }

func (sa *ikeSA) name() string {
	if sa.peer == nil {
		return ""
	}
	return sa.peer.cfg.Name
}

func (sa *ikeSA) info() IKE {
	return IKE{
		Peer: sa.name(), Number: sa.number, SPIs: sa.spi, Initiator: sa.initiator, LocalID: sa.ids.local,
		RemoteID: sa.ids.remote, Path: sa.path,
	}
}

func (sa *ikeSA) log(level slog.Level, err error, format string, args ...any) {
	sa.e.log(level, sa.name(), sa, err, format, args...)
}

// setKeys makes the keys those with which messages are protected from now on.
func (sa *ikeSA) setKeys(suite crypto.Suite, keys *crypto.Keys) error {
	ei, ai, er, ar := keys.EI, keys.AI, keys.ER, keys.AR
	if !sa.initiator {
		ei, ai, er, ar = er, ar, ei, ai
	}
	sealer, err := crypto.NewSealer(suite.Cipher, ei, ai)
	if err != nil {
		return fmt.Errorf("keying an IKE SA: %w", err)
	}
	opener, err := crypto.NewOpener(suite.Cipher, er, ar)
	if err != nil {
		return fmt.Errorf("keying an IKE SA: %w", err)
	}
	if sa.e.cfg.ExportKeys {
		sa.e.emit(IKEKeys{
			SPIs: sa.spi, Suite: sa.sec.choice.String(), Cipher: suite.Cipher, EI: export(keys.EI), ER: export(keys.ER), AI: export(keys.AI), AR: export(keys.AR),
		})
	}
	sa.sec.suite, sa.sec.keys, sa.sec.sealer, sa.sec.opener = suite, keys, sealer, opener
	return nil
}

// export copies a key: the original is wiped when it is no longer needed.
func export(key []byte) Secret { return Secret(bytes.Clone(key)) }

// become is the one place where an IKE SA changes its state, and where what goes with it happens. reason says why an IKE SA
// ends.
func (sa *ikeSA) become(to state, reason error) {
	from := sa.state
	if from == dead || from == to {
		return
	}
	sa.state = to
	switch from {
	case deleting:
		sa.peer.parting--
	case replaced:
		*sa.swap.replaced--
	}
	switch to {
	case established:
		sa.enterEstablished(from)
	case replaced:
		*sa.swap.replaced++
		sa.stopLifetimes()
		sa.e.timers.set(&sa.life.handshake, sa.e.now.Add(sa.replacedFor()), func() { sa.become(dead, errReplaced) })
	case deleting:
		sa.peer.parting++
		if sa.peer.removed {
			sa.ready() // there may be no later
		}
		sa.leave(from, reason)
		sa.enqueue(&deleteIKE{reason: reason})
	case closed:
		sa.readyHeir()
		sa.leave(from, reason)
		sa.silence()
		sa.e.timers.set(&sa.life.handshake, sa.e.now.Add(closedFor), func() { sa.become(dead, nil) })
	case dead:
		sa.readyHeir()
		sa.leave(from, reason)
		sa.silence()
		sa.remove(from)
	}
}

// closedFor is how long an IKE SA that was deleted answers repetitions of the request that did it.
const closedFor = 10 * time.Second

// replacedFor is longer than the peer can take to delete what it replaced.
func (sa *ikeSA) replacedFor() time.Duration { return 2*sa.e.cfg.Retransmit.total() + closedFor }

// total is how long a request is retransmitted.
func (r Retransmit) total() time.Duration {
	var sum time.Duration
	for try := range r.Tries + 1 {
		sum += r.after(try)
	}
	return sum
}

func (sa *ikeSA) enterEstablished(from state) {
	e := sa.e
	e.timers.stop(&sa.life.handshake)
	sa.forgetInit()
	if from == halfOpen {
		e.halfOpen--
	}
	sa.life.authenticated, sa.life.established, sa.life.heard = e.now, e.now, e.now
	sa.startLifetimes()
	sa.e.emit(IKEUp{IKE: sa.info(), Suite: sa.sec.choice.String(), Leased: sa.leased, Assigned: sa.assigned})
	sa.log(slog.LevelInfo, nil, "established with %v at %v", sa.ids.remote, sa.path.Remote)
	sa.peer.tries = 0
}

// leave ends what an IKE SA stands for, unless it ended before: its children, its requests, its leases. It stays only to
// answer, and to delete itself.
func (sa *ikeSA) leave(from state, reason error) {
	sa.stopLifetimes()
	sa.abandon(reason)
	if from > established {
		return
	}
	sa.dropRekeying(reason)
	for _, r := range sa.replaces {
		sa.e.timers.stop(&r.timer)
	}
	children := slices.Clone(sa.children)
	for _, c := range children {
		c.end(reason)
	}
	if sa.peer == nil || sa.swap.redundant {
		return
	}
	sa.peer.sas = slices.DeleteFunc(sa.peer.sas, func(o *ikeSA) bool { return o == sa })
	switch from {
	case established:
		sa.release()
		sa.e.emit(IKEDown{IKE: sa.info(), Reason: reason})
		sa.peer.down(sa, children, reason)
	case initiating, authenticating:
		sa.peer.failed(sa, reason)
	}
}

func (sa *ikeSA) release() {
	if len(sa.leased.Addresses) > 0 && sa.peer.cfg.Pool != nil {
		sa.peer.cfg.Pool.Release(sa.leased)
		sa.leased = Lease{}
	}
}

// remove forgets the IKE SA and its keys.
func (sa *ikeSA) remove(from state) {
	e := sa.e
	e.timers.stop(&sa.life.handshake)
	sa.forgetInit()
	delete(e.sas, sa.ourSPI())
	if sa.countsHalfOpen(from) {
		e.halfOpen--
	}
	if sa.sec.keys != nil {
		sa.sec.keys.Wipe()
	}
	sa.hs = nil
}

// countsHalfOpen says whether an IKE SA that is removed from a state was one without authentication.
func (sa *ikeSA) countsHalfOpen(from state) bool {
	return from == halfOpen || from == closed && sa.life.established.IsZero() && !sa.initiator && sa.hs != nil
}

func (sa *ikeSA) forgetInit() {
	if sa.hs != nil && sa.e.inits[sa.hs.key] == sa {
		delete(sa.e.inits, sa.hs.key)
	}
}
