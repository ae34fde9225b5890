// Package e2e holds the acceptance stories: tests that run the built program as a user does, talk to it over the wire,
// and end it as a crash does. They need PostgreSQL and RabbitMQ; stories that stop a server start a private one.
package e2e
