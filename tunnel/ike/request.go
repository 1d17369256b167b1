package ike

import (
	"errors"
	"math"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// Our requests, one at a time (RFC 7296 section 2.3: a window of 1, which every peer has): what is to be asked waits in a
// queue, what is asked is retransmitted octet for octet until it is answered (section 2.1).

// A request is something to ask the peer.
type request interface {
	// begin builds the message; ok is false if there is no reason for it any more.
	begin(sa *ikeSA) (exchange message.ExchangeType, payloads []message.Payload, ok bool)
	// done takes what the peer answered.
	done(sa *ikeSA, payloads []message.Payload)
	// lost is called in place of done if the request will not be answered, or never sent.
	lost(sa *ikeSA, err error)
}

type outgoing struct {
	next    uint32 // message ID of the next request
	pending *pending
	queue   []request
	// held: what is in the queue waits, since the peer may not know this IKE SA yet.
	held bool
	// early are the peer's SPIs that it deleted while our request is out, which may have made them.
	early []uint32
}

// A pending request is one that is not answered.
type pending struct {
	id        uint32
	exchange  message.ExchangeType
	datagrams [][]byte
	tries     int
	timer     timer
	// req is nil if nobody wants the answer any more; it is waited for all the same, since the window is 1.
	req request
}

func (sa *ikeSA) enqueue(r request) {
	sa.out.queue = append(sa.out.queue, r)
	sa.wake()
}

// enqueueFirst has a request sent before those that wait.
func (sa *ikeSA) enqueueFirst(r request) {
	sa.out.queue = append([]request{r}, sa.out.queue...)
	sa.wake()
}

func (sa *ikeSA) wake() { sa.e.ready = append(sa.e.ready, sa) }

// pump sends the next request if none is out.
func (sa *ikeSA) pump() {
	for sa.out.pending == nil && !sa.out.held && len(sa.out.queue) > 0 && sa.state != closed && sa.state != dead {
		r := sa.out.queue[0]
		sa.out.queue = sa.out.queue[1:]
		exchange, payloads, ok := r.begin(sa)
		if !ok {
			continue
		}
		sa.ask(exchange, payloads, r)
	}
}

// ask sends a protected request.
func (sa *ikeSA) ask(exchange message.ExchangeType, payloads []message.Payload, r request) {
	if sa.out.next == math.MaxUint32 {
		r.lost(sa, errors.New("message IDs are exhausted"))
		sa.become(dead, errLifetime) // RFC 7296 section 2.2: it had to be rekeyed long ago
		return
	}
	datagrams, err := sa.protect(exchange, sa.out.next, false, payloads)
	if err != nil {
		r.lost(sa, err)
		sa.become(dead, err)
		return
	}
	sa.transmit(exchange, datagrams, r)
}

// transmit sends the datagrams of a request and begins to wait for its answer.
func (sa *ikeSA) transmit(exchange message.ExchangeType, datagrams [][]byte, r request) {
	p := &pending{id: sa.out.next, exchange: exchange, datagrams: datagrams, req: r}
	sa.out.next++
	sa.out.pending, sa.out.early = p, nil
	sa.send(sa.path, datagrams)
	sa.awaitAnswer(p)
}

func (sa *ikeSA) awaitAnswer(p *pending) {
	sa.e.timers.set(&p.timer, sa.e.now.Add(sa.e.cfg.Retransmit.after(p.tries)), func() { sa.retransmit(p) })
}

// after returns how long to wait after the transmission with this number, from 0 on.
func (r Retransmit) after(try int) time.Duration {
	wait := float64(r.Timeout) * math.Pow(r.Base, float64(try))
	return time.Duration(min(wait, float64(max(r.Max, r.Timeout))))
}

// retransmit sends a request again, or gives its IKE SA up (RFC 7296 section 2.4).
func (sa *ikeSA) retransmit(p *pending) {
	if sa.state == initiating && sa.overtaken() {
		return
	}
	if p.tries >= sa.e.cfg.Retransmit.Tries {
		reason := errTimeout
		if sa.hs != nil && sa.hs.refused != nil {
			reason = sa.hs.refused
		}
		sa.become(dead, reason)
		return
	}
	p.tries++
	sa.send(sa.path, p.datagrams)
	sa.awaitAnswer(p)
}

func (sa *ikeSA) send(path Path, datagrams [][]byte) {
	for _, d := range datagrams {
		sa.e.emit(Send{From: path.Local, To: path.Remote, NATT: path.NATT, Datagram: d})
	}
}

// answered takes the pending request out and returns what wanted its answer, which may be nil.
func (sa *ikeSA) answered() request {
	p := sa.out.pending
	sa.e.timers.stop(&p.timer)
	sa.out.pending = nil
	sa.in.responses = fragments{}
	sa.wake()
	return p.req
}

// abandon drops what waits, and the interest in the answer that is waited for, unless that answer makes something at the peer
// that has to be deleted.
func (sa *ikeSA) abandon(reason error) {
	queue := sa.out.queue
	sa.out.queue = nil
	if p := sa.out.pending; p != nil && p.req != nil {
		r := p.req
		if _, farewell := r.(*deleteIKE); !farewell && (!rekeysIKE(r) || sa.state == dead) {
			p.req = nil
			r.lost(sa, reason)
		}
	}
	for _, r := range queue {
		r.lost(sa, reason)
	}
}

// rekeysIKE says whether the answer to a request may mean another IKE SA.
func rekeysIKE(r request) bool {
	follow, ok := r.(*followUpKE)
	if ok {
		return follow.ike
	}
	_, ok = r.(*rekeyIKE)
	return ok
}

// silence ends retransmission. In an IKE SA that the peer deleted an answer that makes another one may be on its way.
func (sa *ikeSA) silence() {
	if p := sa.out.pending; p != nil {
		sa.e.timers.stop(&p.timer)
		if sa.state != closed || !rekeysIKE(p.req) {
			sa.out.pending = nil
		}
	}
}
