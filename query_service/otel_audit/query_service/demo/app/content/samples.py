"""Texts that an organization starts with, so that the first question finds something."""

from __future__ import annotations

from typing import Final

HANDBOOK: Final = """\
Travel: economy class is booked for flights under six hours. Receipts are due within thirty days.
Remote work: people may work from abroad for twenty days a year. Ask your lead and the tax team first.
Security: report a lost laptop within one hour. Never share a second factor. Lock the screen when you leave.
Parental leave: twenty-six weeks are paid in full. Tell your lead ten weeks ahead.
"""

FILES: Final = {
    "Refund policy.md": """\
Refunds are paid within fourteen days of the return. Opened goods are refunded at half their price.
Refunds above 500 need the approval of a lead.
""",
    "Security handbook.md": """\
Passwords have at least twelve characters and are never reused.
A second factor is required for everybody with the role admin.
Incidents are reported to the security desk within one hour.
""",
    "Onboarding.md": """\
On the first day new colleagues get a laptop and a buddy.
Access to customer data is given after the privacy training. The probation period is six months.
""",
    "Q3 board deck.txt": """\
Revenue rose by eleven percent in the third quarter. Churn fell to two percent.
The plan is to open an office in Lisbon in spring.
""",
    "Retention schedule.md": """\
Invoices are kept for ten years. Support tickets are kept for two years.
Answers that were generated are kept for three months.
""",
}

QA_PAIRS: Final = {
    "How long do refunds take?": "Fourteen days from the day the return arrives.",
    "Who approves travel?": "Your lead, before anything is booked.",
    "What is the incident hotline?": "The security desk, reachable around the clock.",
}
