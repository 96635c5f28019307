//! Estimated charges.

/// What a series of charges is about. The four kinds add up to the same bill and are never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChargeKey {
    /// Currency of the amounts.
    pub currency: String,
    /// The member account, of a payer's series by account.
    pub linked_account: Option<String>,
    /// The service, of series by service.
    pub service: Option<String>,
}

impl ChargeKey {
    /// `total`, `service`, `linked_account` or `linked_account_service`.
    pub fn scope(&self) -> &'static str {
        match (&self.linked_account, &self.service) {
            (None, None) => "total",
            (None, Some(_)) => "service",
            (Some(_), None) => "linked_account",
            (Some(_), Some(_)) => "linked_account_service",
        }
    }

    /// The total of the same currency.
    #[must_use]
    pub fn total(&self) -> Self {
        Self {
            currency: self.currency.clone(),
            linked_account: None,
            service: None,
        }
    }
}

/// Charges of the month so far, as they were published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChargePoint {
    /// Start of the period it was found in, seconds since the epoch.
    pub ts: i64,
    /// The period it was asked with, seconds.
    pub period: i32,
    /// The amount.
    pub month_to_date: f64,
}
