package esp

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sync"
)

// ivStep is how many IVs a state file is ahead of those in use. It must suffice from one Extend to the next. As clock it is
// a quarter of a second, so that the clock overtakes it during any restart.
const ivStep = 1 << 28

// Decisions of an IVState.
var (
	// ErrIVStateCorrupt says that a state file does not hold what was written.
	ErrIVStateCorrupt = errors.New("corrupt IV state file")
	// ErrIVStateTaken says that somebody else uses the same IVs: a state file changed under its owner, or one IVState was
	// given to two SAs.
	ErrIVStateTaken = errors.New("IV state is another's")
	// ErrIVsUsedUp says that there is no IV left above the last one.
	ErrIVsUsedUp = errors.New("IVs are used up")
)

// IVState keeps an AEAD's IVs from ever repeating under a key that outlives the process. Its file holds a number that no
// IV in use has exceeded, written ahead of use and synced, so that neither a crash nor a clock that is set back can bring an
// IV back. An SA stops at that number (Outbound.SetLimit) until Extend has written a higher one.
//
// An IVState serves one outbound SA. To key anew with the same file, open it again: the old SA keeps what it has been
// allowed and gets no more.
type IVState struct {
	path   string
	base   uint64
	behind uint64

	mu sync.Mutex
	// last is what the file holds: IVs up to it may be used.
	last uint64
	sa   *Outbound
}

// OpenIVState reserves IVs above the number in the file at path and above the clock, in nanoseconds since 1970. A file that does
// not exist is made, readable to its owner alone; its directory must exist.
func OpenIVState(path string, clock uint64) (*IVState, error) {
	s := &IVState{path: path, base: clock}
	before, err := readIVState(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case before > clock:
		s.base, s.behind = before, before-clock
	}
	if s.base == math.MaxUint64 {
		return nil, fmt.Errorf("open IV state file %s: %w", path, ErrIVsUsedUp)
	}
	if err := s.reserve(s.base); err != nil {
		return nil, err
	}
	return s, nil
}

// Base returns what is added to a sequence number to make an IV.
func (s *IVState) Base() uint64 { return s.base }

// Behind returns by how many nanoseconds the clock was behind the file; 0 for none. Up to half a second is ordinary where a
// process is started again at once; more says that the clock was set back.
func (s *IVState) Behind() uint64 { return s.behind }

// Extend reserves more IVs in the file where the SA has used half of those it may use. Call it about once a second. After an
// error the SA stops at the last of those reserved before.
func (s *IVState) Extend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sa == nil {
		return nil
	}
	used := s.base + s.sa.Sent()
	if s.last-used > ivStep/2 || s.last == math.MaxUint64 {
		return nil
	}
	found, err := readIVState(s.path)
	if err != nil {
		return err
	}
	if found != s.last {
		return fmt.Errorf("extend IV state file %s: %w: it holds %d, not %d as was written", s.path, ErrIVStateTaken, found, s.last)
	}
	if err := s.reserve(s.last); err != nil {
		return err
	}
	s.sa.SetLimit(s.last - s.base)
	return nil
}

// serve binds the state to the SA that it limits.
func (s *IVState) serve(sa *Outbound) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sa != nil {
		return fmt.Errorf("%w: %s already serves an SA", ErrIVStateTaken, s.path)
	}
	s.sa = sa
	sa.SetLimit(s.last - s.base)
	return nil
}

// reserve writes a number one step above from, and remembers it if it was written.
func (s *IVState) reserve(from uint64) error {
	last := from + min(ivStep, math.MaxUint64-from)
	if err := writeIVState(s.path, last); err != nil {
		return fmt.Errorf("write IV state file %s: %w", s.path, err)
	}
	s.last = last
	return nil
}

// formatIVState is what a file holds: text, so that people can read it, with a checksum over the number's line.
func formatIVState(last uint64) string {
	line := fmt.Sprintf("last-iv %d\n", last)
	return line + fmt.Sprintf("crc32 %08x\n", crc32.ChecksumIEEE([]byte(line)))
}

func readIVState(path string) (last uint64, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read IV state: %w", err)
	}
	_, err = fmt.Sscanf(string(text), "last-iv %d\n", &last)
	if err != nil || string(text) != formatIVState(last) {
		return 0, fmt.Errorf("read IV state: %w: %s has %d bytes that are not \"last-iv NUMBER\" and its checksum; "+
			"restore it, or remove it if the keys have been changed since", ErrIVStateCorrupt, path, len(text))
	}
	return last, nil
}

// writeIVState replaces the file such that after a crash it holds either the old or the new number.
func writeIVState(path string, last uint64) error {
	fresh := path + ".new"
	if err := writeSynced(fresh, formatIVState(last)); err != nil {
		os.Remove(fresh) // best effort; the next write truncates it
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
