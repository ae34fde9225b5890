//go:build race

package sim

// raceDetector tells whether the program is built with it.
const raceDetector = true
