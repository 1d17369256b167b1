// Package until is how tests wait: for a condition, with a deadline. Nothing of the program imports it.
//
// A test never sleeps and then looks. What must happen is waited for here; that nothing happens is shown by something that
// comes behind it and does happen, or in a testing/synctest bubble, where time passes when everybody waits.
//
// Inside a bubble the pause between two looks is of the bubble's time. A condition runs on the goroutine of the test, and may
// fail it.
package until
