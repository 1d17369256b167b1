package kernel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batchChanges and batchBytes bound what one write tells the kernel; the send buffer holds more.
	batchChanges = 256
	batchBytes   = 32 << 10
	// leaveTime bounds the removal of our routes at the end.
	leaveTime = 30 * time.Second
)

// operation is one change on its way to the kernel.
type operation struct {
	at     place
	entry  *entry
	want   *standing // nil: remove
	number unix.Errno
	words  string
}

// err is nil if the kernel has what was wanted.
func (o *operation) err() error {
	if o.number == 0 || o.want == nil && o.number == unix.ESRCH {
		return nil
	}
	verb := "install"
	if o.want == nil {
		verb = "remove"
	}
	err := fmt.Errorf("%s %v metric %d: %w", verb, o.at.prefix, o.at.metric, o.number)
	switch {
	case o.number == unix.EEXIST:
		err = fmt.Errorf("%w: another program's route stands there; choose another metric", err)
	case o.words != "":
		err = fmt.Errorf("%w (%s)", err, o.words)
	}
	return err
}

// batch is what goes to the kernel in one write.
type batch struct {
	operations []operation
	bytes      []byte
	firstSeq   uint32
	loud       bool // others may stand where we write
}

func (b *batch) reset() { *b = batch{operations: b.operations[:0], bytes: b.bytes[:0]} }

func (b *batch) full() bool { return len(b.operations) == batchChanges || len(b.bytes) > batchBytes }

// install writes what is queued until the context ends.
func (t *Table) install(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		t.writing.Lock()
		done, due := t.writeBatch(time.Now())
		t.writing.Unlock()
		if done > 0 {
			continue
		}
		timer.Stop()
		if !due.IsZero() {
			timer.Reset(time.Until(due))
		}
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-timer.C:
		}
	}
}

// writeBatch writes a batch of what is queued and returns how many it wrote, and when there is something to repeat. It is
// called with writing held.
func (t *Table) writeBatch(now time.Time) (done int, due time.Time) {
	t.mu.Lock()
	due = t.places.due(now)
	if t.places.pending() == 0 {
		t.places.sweep(now)
	}
	t.batch.reset()
	for !t.batch.full() {
		at, e, ok := t.places.pop()
		if !ok {
			break
		}
		if e != nil {
			t.plan(at, e)
		}
	}
	t.mu.Unlock()
	if len(t.batch.operations) == 0 {
		return 0, due
	}
	t.perform()
	return len(t.batch.operations), due
}

// plan appends to the batch what makes the place as it is wanted. It is called with mu held.
func (t *Table) plan(at place, e *entry) {
	want := t.wanted(at, e)
	switch {
	case want == nil && e.have == nil:
		e.held = false
		t.places.forget(at, e)
		return
	case want.same(e.have) && !e.held:
		t.places.settle(at)
		return
	}
	r := kernelRoute{prefix: at.prefix, metric: at.metric, table: t.config.TableID, protocol: t.config.Protocol, kind: unix.RTN_UNICAST}
	command, flags := uint16(unix.RTM_DELROUTE), uint16(0)
	if want != nil {
		command, flags, r.hops = unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, want.hops
		if e.have != nil || e.held {
			flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
		}
	}
	switch {
	case want == nil:
		r.kind = unix.RTN_UNSPEC // any
	case want == unreachable:
		r.kind = unix.RTN_UNREACHABLE
	}
	b := &t.batch
	if len(b.operations) == 0 {
		b.firstSeq = t.seq + 1
	}
	t.seq++
	b.bytes = appendRoute(b.bytes, command, flags, t.seq, &r)
	b.loud = b.loud || e.held
	e.flying = true
	b.operations = append(b.operations, operation{at: at, entry: e, want: want})
}

// perform writes the batch and notes what came of it. It is called with writing held.
func (t *Table) perform() {
	err := t.exchange()
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for i := range t.batch.operations {
		o := &t.batch.operations[i]
		if err != nil {
			t.places.setHave(o.entry, unknown)
			o.number, o.words = unix.EIO, err.Error()
		}
		t.conclude(o, now)
	}
}

func (t *Table) conclude(o *operation, now time.Time) {
	e := o.entry
	disturbed := e.disturbed
	e.flying, e.disturbed = false, false
	if err := o.err(); err != nil {
		if disturbed && e.have != nil {
			t.places.setHave(e, unknown)
		}
		t.stats.Failures++
		t.stats.LastError = err.Error()
		t.places.postpone(o.at, now, true)
		return
	}
	t.stats.Written++
	if disturbed { // by somebody else, since
		e.held = e.want != nil
		t.places.setHave(e, unknown)
		t.places.postpone(o.at, now, false)
		return
	}
	e.held = false
	t.places.setHave(e, o.want)
	t.places.settle(o.at)
	t.places.forget(o.at, e)
}

// exchange writes the batch and reads what went wrong. The kernel answers errors, and the last request because it is asked
// to: what it did not complain about before is done.
func (t *Table) exchange() error {
	b, s := &t.batch, t.commands
	if b.loud {
		s = t.loud
	}
	for at, i := 0, 1; i <= len(b.operations); i++ {
		if i == len(b.operations) {
			flags := native.Uint16(b.bytes[at+6:])
			native.PutUint16(b.bytes[at+6:], flags|unix.NLM_F_ACK)
		}
		at += int(native.Uint32(b.bytes[at:]))
	}
	if err := s.send(b.bytes); err != nil {
		return err
	}
	for deadline := time.Now().Add(answerTime); ; {
		datagram, err := s.receive(deadline)
		if err != nil {
			return err
		}
		for m, rest, ok := next(datagram); ok; m, rest, ok = next(rest) {
			i := m.seq - b.firstSeq
			if m.kind != unix.NLMSG_ERROR || i >= uint32(len(b.operations)) {
				continue
			}
			b.operations[i].number, b.operations[i].words = parseError(m)
			if int(i) == len(b.operations)-1 {
				return nil
			}
		}
	}
}

// leave removes our routes, unless they are to be kept. It runs when nothing else does.
func (t *Table) leave() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.mu.Lock()
	t.leaving = true
	if t.keep.Load() {
		t.mu.Unlock()
		return nil
	}
	t.places.queue, t.places.first = t.places.queue[:0], 0
	t.places.retries.Clear()
	for at, e := range t.places.entries {
		e.queued = false
		if at.metric != ProtectMetric && e.have != nil {
			t.places.setWant(e, nil)
			t.places.push(at, e)
		}
	}
	before := t.stats.Failures
	t.mu.Unlock()
	for start := time.Now(); ; {
		done, _ := t.writeBatch(start)
		switch {
		case done == 0 && t.stats.Failures != before:
			return errors.New("remove our routes from the kernel: " + t.stats.LastError)
		case done == 0:
			return nil
		case time.Since(start) > leaveTime:
			return fmt.Errorf("removing our routes took longer than %v; the next start adopts the rest", leaveTime)
		}
	}
}
