"""Files of archives: everything that a scan holds, in and out, and the record of what was done."""
