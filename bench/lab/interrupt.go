//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// closeWhenInterrupted closes the lab when a signal asks this process to end, and then ends it by the same signal. The function that it
// returns stops that, or waits for it.
func (l *Lab) closeWhenInterrupted() (stop func()) {
	asked, done, finished := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(finished)
		select {
		case <-done:
		case sig := <-asked:
			_ = l.Close() // there is nobody left to tell
			awaitOthers()
			signal.Reset(sig)
			_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
		}
	}()
	return func() {
		signal.Stop(asked)
		close(done)
		<-finished
	}
}

// awaitOthers returns when no lab of this process has a host any more, and at the latest after ten seconds. What is left then is taken
// away by the next lab that is made.
func awaitOthers() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = WaitFor(ctx, "other labs", func() error {
		if left, _ := filepath.Glob(fmt.Sprintf("/run/netns/%s%d-*", namePrefix, os.Getpid())); len(left) > 0 {
			return errors.New("there are some")
		}
		return nil
	})
}
