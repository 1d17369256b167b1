package kernel

import (
	"errors"
	"fmt"
	"net/netip"
)

// Protect has the prefixes unreachable for whatever has no better route, and returns when that stands. They stay until
// Unprotect, also when Run returns and when the process dies. A prefix for which it fails is tried again while Run runs.
func (t *Table) Protect(prefixes ...netip.Prefix) error { return t.protect(prefixes, protection) }

// Unprotect removes what Protect installed.
func (t *Table) Unprotect(prefixes ...netip.Prefix) error { return t.protect(prefixes, nil) }

func (t *Table) protect(prefixes []netip.Prefix, want *hopSet) error {
	for _, prefix := range prefixes {
		if err := checkPrefix(prefix); err != nil {
			return err
		}
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	var failed []error
	for len(prefixes) > 0 {
		var err error
		if prefixes, err = t.protectBatch(prefixes, want); err != nil {
			return err
		}
		for i := range t.batch.operations {
			if err := t.batch.operations[i].err(); err != nil {
				failed = append(failed, err)
			}
		}
	}
	if len(failed) > 3 {
		failed = append(failed[:3], fmt.Errorf("and %d more", len(failed)-3))
	}
	return errors.Join(failed...)
}

// protectBatch writes as many as fit and returns the others.
func (t *Table) protectBatch(prefixes []netip.Prefix, want *hopSet) ([]netip.Prefix, error) {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, ErrClosed
	}
	t.batch.reset()
	for len(prefixes) > 0 && !t.batch.full() {
		at := place{prefixes[0], ProtectMetric}
		prefixes = prefixes[1:]
		e := t.places.at(at)
		t.places.setWant(e, want)
		t.plan(at, e)
	}
	t.mu.Unlock()
	if len(t.batch.operations) > 0 {
		t.perform()
		t.wakeWriter() // for what failed
	}
	return prefixes, nil
}
