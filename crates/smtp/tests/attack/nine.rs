//! The one list of what a test takes for a false end of a message. The tests of the doors (`crates/ingress/tests/smtp`) read
//! it, too.

/// What some server has taken for the end of a message: the collection of the paper on SMTP smuggling.
pub const NINE: [&str; 9] =
    ["\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\0.\r\n"];
