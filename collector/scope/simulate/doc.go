// Package simulate says what policies allow, from their text alone: it reads them strictly, by the fields that their systems document, and decides
// about single connections as these would. It shares no code with what writes policies, so that one proves the other.
package simulate
