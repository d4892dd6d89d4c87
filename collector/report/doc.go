// Package report answers the questions that people ask: who is there, what do they reach, who is not used any more. Its types are what the API
// serves and the command line prints.
//
// Every report says what it rests on: how much of the window was watched, where the gaps are, what was lost, and what could not be seen. An
// identity that looks unused because nobody looked is worse than no report.
package report
